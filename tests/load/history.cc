#include "tests/load/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <thread>

#include "coordinator/job/job.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"
#include "tests/load/submissions.h"

namespace regroup {
namespace {

/// Checks the changes of one job.
class JobHistory {
 public:
  explicit JobHistory(std::string id) : id_(std::move(id)) {}

  void Take(const v1::JobEvent& event, Verdict* verdict) {
    if (event.progress_only()) return;
    if (event.gap() || event.job().revision() != revision_ + 1) {
      Violate(fmt::format("revision {} follows {}", event.job().revision(), revision_), verdict);
    }
    revision_ = event.job().revision();
    if (IsFinalState(job_.state()) && !IsRetried(event.job().state())) Violate("a final job went on", verdict);
    job_ = event.job();
    for (const v1::Task& task : event.job().tasks()) TakeTask(task, verdict);
  }

  const v1::Job& job() const { return job_; }
  /// Returns the last known state of the task, or null.
  const v1::Task* Find(const std::string& task) const {
    const auto found = tasks_.find(task);
    return found == tasks_.end() ? nullptr : &found->second;
  }

 private:
  /// A final job continues only if somebody retries it, and never if it succeeded.
  bool IsRetried(v1::JobState next) const {
    return next == v1::JOB_STATE_QUEUED && job_.state() != v1::JOB_STATE_SUCCEEDED;
  }

  void TakeTask(const v1::Task& task, Verdict* verdict) {
    const std::string name = LastSegment(task.name());
    v1::Task& before = tasks_[name];
    if (task.epoch() < before.epoch()) Violate(name + " went back to an older epoch", verdict);
    if (before.state() == v1::TASK_STATE_SUCCEEDED) {
      ++verdict->applied_twice;
      Violate(name + " changed after its success", verdict);
    }
    before = task;
  }

  void Violate(const std::string& what, Verdict* verdict) const {
    verdict->violations.push_back(fmt::format("{}: {}", id_, what));
  }

  const std::string id_;
  int64_t revision_ = 0;
  v1::Job job_;
  std::map<std::string, v1::Task> tasks_;
};

absl::StatusOr<JobHistory> ReadHistory(v1::JobService::Stub& stub, const std::string& id, Verdict* verdict) {
  v1::WatchJobRequest request;
  request.set_name(JobName(id));
  request.set_resume_token("r0");
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallPatience);
  const auto reader = stub.WatchJob(&context, request);
  JobHistory history(id);
  v1::JobEvent event;
  while (reader->Read(&event)) history.Take(event, verdict);
  REGROUP_RETURN_IF_ERROR(FromGrpc(reader->Finish()));
  return history;
}

void JudgeEnd(const JobHistory& history, const std::string& id, const Promises& promises, Verdict* verdict) {
  const v1::JobState state = history.job().state();
  const auto violate = [&](const std::string& what) { verdict->violations.push_back(id + ": " + what); };
  ++verdict->ends[EnumWord(state)];
  const bool is_cancelled = promises.cancelled.count(id) > 0;
  if (is_cancelled && state != v1::JOB_STATE_CANCELLED) violate("was cancelled, and is not");
  if (state == v1::JOB_STATE_CANCELLED && promises.published.count(id) > 0) violate("may publish, and was cancelled");
  if (state == v1::JOB_STATE_FAILED && history.job().failure().failure_class() != v1::FAILURE_CLASS_INFRA) {
    violate("failed: " + history.job().failure().message());
  }
}

void JudgeResults(const std::map<std::string, JobHistory>& histories, const Promises& promises, Verdict* verdict) {
  for (const auto& [name, epoch] : promises.successes) {
    const auto history = histories.find(name.first);
    const v1::Task* task = history == histories.end() ? nullptr : history->second.Find(name.second);
    const bool is_kept = task != nullptr && task->state() == v1::TASK_STATE_SUCCEEDED && task->epoch() == epoch;
    if (is_kept) continue;
    ++verdict->lost_results;
    verdict->violations.push_back(fmt::format("the result of {}/{} is lost", name.first, name.second));
  }
}

void JudgeSubmissions(const std::vector<v1::Job>& jobs, const Promises& promises, Verdict* verdict) {
  std::set<std::string> listed;
  for (const v1::Job& job : jobs) listed.insert(job.name());
  for (const auto& [request, name] : promises.jobs) {
    if (listed.erase(name) > 0) continue;
    ++verdict->lost;
    verdict->violations.push_back(name + " is lost");
  }
  // Every request was repeated until it was answered, so each job belongs to one request.
  for (const std::string& name : listed) {
    ++verdict->applied_twice;
    verdict->violations.push_back(name + " was created by a request that created another");
  }
}

size_t CountFinal(const std::vector<v1::Job>& jobs) {
  return static_cast<size_t>(
      std::count_if(jobs.begin(), jobs.end(), [](const v1::Job& job) { return IsFinalState(job.state()); }));
}

/// The patience applies to each next job that ends, so that a busy machine has enough time for all of them.
absl::StatusOr<std::vector<v1::Job>> WaitUntilFinal(const Connection& connection, std::chrono::seconds patience) {
  auto deadline = std::chrono::steady_clock::now() + patience;
  size_t ended = 0;
  while (true) {
    auto jobs = ListAll(connection);
    const size_t now_ended = jobs.ok() ? CountFinal(*jobs) : ended;
    if (jobs.ok() && now_ended == jobs->size()) return jobs;
    if (now_ended > ended) deadline = std::chrono::steady_clock::now() + patience;
    ended = now_ended;
    if (std::chrono::steady_clock::now() > deadline) {
      return jobs.ok() ? absl::DeadlineExceededError("some jobs do not end") : jobs.status();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

}  // namespace

absl::StatusOr<Verdict> Judge(const Connection& connection, const Journal& journal, std::chrono::seconds patience) {
  REGROUP_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, WaitUntilFinal(connection, patience));
  const Promises promises = journal.promises();
  Verdict verdict;
  verdict.violations = promises.violations;
  JudgeSubmissions(jobs, promises, &verdict);
  const auto stub = connection.jobs();
  std::map<std::string, JobHistory> histories;
  for (const v1::Job& job : jobs) {
    const std::string id = LastSegment(job.name());
    REGROUP_ASSIGN_OR_RETURN(JobHistory history, ReadHistory(*stub, id, &verdict));
    JudgeEnd(history, id, promises, &verdict);
    histories.emplace(id, std::move(history));
  }
  JudgeResults(histories, promises, &verdict);
  return verdict;
}

nlohmann::json ToJson(const Verdict& verdict, const Promises& promises) {
  return {{"acknowledged", promises.jobs.size()},   {"results", promises.successes.size()},
          {"cancelled", promises.cancelled.size()}, {"lost", verdict.lost},
          {"lost_results", verdict.lost_results},   {"applied_twice", verdict.applied_twice},
          {"violations", verdict.violations},       {"ends", verdict.ends}};
}

}  // namespace regroup
