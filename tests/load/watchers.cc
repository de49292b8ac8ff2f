#include "tests/load/watchers.h"

#include <fmt/format.h>

#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "coordinator/job/job.h"
#include "services/common/base/status_macros.h"
#include "tests/load/puppet_worker.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kProgressInterval(100);
constexpr size_t kPhaseBytes = 2000;

/// Opens a stream and never reads from it: sent messages fill the connection's window.
class SilentWatcher : public grpc::ClientReadReactor<v1::JobEvent> {
 public:
  SilentWatcher(const LoadOptions& options, const std::string& job) {
    LoadOptions own = options;
    own.connections = 1;
    connection_ = Connection::Open(own).value();
    stub_ = connection_->jobs();
    request_.set_name(job);
    request_.set_resume_token("r0");
    stub_->async()->WatchJob(&context_, &request_, this);
    StartCall();
  }
  ~SilentWatcher() override {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_done_; });
  }

  void OnDone(const grpc::Status&) override {
    const std::lock_guard lock(mutex_);
    is_done_ = true;
    changed_.notify_all();
  }

 private:
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<v1::JobService::Stub> stub_;
  grpc::ClientContext context_;
  v1::WatchJobRequest request_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_done_ = false;
};

/// Records the events that one reader saw.
struct Seen {
  int64_t events = 0;
  int64_t progress = 0;
  std::string fault;
};

Seen ReadToTheEnd(v1::JobService::Stub& stub, const std::string& job) {
  v1::WatchJobRequest request;
  request.set_name(job);
  request.set_resume_token("r0");
  grpc::ClientContext context;
  const auto reader = stub.WatchJob(&context, request);
  Seen seen;
  int64_t revision = 0;
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  v1::JobEvent event;
  while (reader->Read(&event)) {
    if (event.progress_only()) {
      ++seen.progress;
      continue;
    }
    ++seen.events;
    const bool follows = !event.gap() && event.job().revision() == revision + 1;
    if (!follows && seen.fault.empty()) seen.fault = fmt::format("{} follows {}", event.job().revision(), revision);
    revision = event.job().revision();
    state = event.job().state();
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok() && seen.fault.empty()) seen.fault = status.error_message();
  if (state != v1::JOB_STATE_SUCCEEDED && seen.fault.empty()) seen.fault = "the stream ended before the job";
  return seen;
}

/// Runs one task at a time; each takes its share of the time and changes its progress continuously.
class BusyWorker {
 public:
  BusyWorker(const Connection& connection, int number, double task_seconds)
      : task_seconds_(task_seconds),
        id_(fmt::format("load-busy-{}", number)),
        stub_(connection.workers()),
        puppet_(connection, &journal_, {.id = id_, .mischief = 0}) {}

  void Run(const std::atomic<bool>& stop) {
    while (!stop) {
      puppet_.KeepRegistered();
      const auto assignment = puppet_.Acquire(std::chrono::milliseconds(250));
      if (!assignment) continue;
      Work(assignment->attempt());
      (void)puppet_.Finish(*assignment);
    }
  }

 private:
  void Work(const v1::AttemptId& attempt) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(task_seconds_);
    while (std::chrono::steady_clock::now() < end) {
      puppet_.KeepRegistered();
      Push(attempt);
      std::this_thread::sleep_for(kProgressInterval);
    }
  }

  void Push(const v1::AttemptId& attempt) {
    v1::PushLogsRequest request;
    request.set_worker(id_);
    request.set_incarnation(puppet_.incarnation());
    v1::AttemptReport& report = *request.add_reports();
    *report.mutable_attempt() = attempt;
    report.mutable_progress()->set_phase(std::string(kPhaseBytes, 'x'));
    report.mutable_progress()->set_done(++done_);
    v1::PushLogsResponse response;
    (void)Call(*stub_, &v1::WorkerService::Stub::PushLogs, request, &response);
  }

  const double task_seconds_;
  const std::string id_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  Journal journal_;
  PuppetWorker puppet_;
  int64_t done_ = 0;
};

absl::StatusOr<std::vector<std::string>> SubmitJobs(const Connection& connection, int count) {
  const auto stub = connection.jobs();
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) {
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(
        Call(*stub, &v1::JobService::Stub::SubmitJob, LoadRequest(fmt::format("watched-{}", i)), &job));
    names.push_back(job.name());
  }
  return names;
}

nlohmann::json ToJson(const std::vector<Seen>& seen, int silent) {
  int complete = 0;
  int64_t events = 0;
  int64_t progress = 0;
  std::string first_fault;
  for (const Seen& one : seen) {
    complete += one.fault.empty() ? 1 : 0;
    events += one.events;
    progress += one.progress;
    if (first_fault.empty()) first_fault = one.fault;
  }
  return {{"readers", seen.size()}, {"complete", complete}, {"events", events},
          {"progress", progress},   {"silent", silent},     {"first_fault", first_fault}};
}

}  // namespace

absl::StatusOr<nlohmann::json> LoadWatchers(const LoadOptions& users, const LoadOptions& workers,
                                            const WatchLoad& load) {
  REGROUP_ASSIGN_OR_RETURN(const auto connection, Connection::Open(users));
  REGROUP_ASSIGN_OR_RETURN(const auto worker_connection, Connection::Open(workers));
  REGROUP_ASSIGN_OR_RETURN(const auto jobs, SubmitJobs(*connection, load.jobs));
  const auto job_of = [&](int watcher) { return jobs[static_cast<size_t>(watcher) % jobs.size()]; };

  std::list<SilentWatcher> silent;
  for (int i = 0; i < load.silent; ++i) silent.emplace_back(users, job_of(i));
  std::vector<Seen> seen(static_cast<size_t>(load.watchers - load.silent));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < seen.size(); ++i) {
    threads.emplace_back([&, i] { seen[i] = ReadToTheEnd(*connection->jobs(), job_of(static_cast<int>(i))); });
  }
  // A job has six tasks; if its layers are aligned in parallel it takes a little less than the time.
  std::atomic<bool> stop = false;
  std::vector<std::thread> worker_threads;
  for (int i = 0; i < load.jobs; ++i) {
    worker_threads.emplace_back([&, i] { BusyWorker(*worker_connection, i, load.seconds / 6).Run(stop); });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  for (std::thread& thread : worker_threads) thread.join();
  return ToJson(seen, load.silent);
}

}  // namespace regroup
