#include "tests/load/fault_load.h"

#include <fmt/format.h>

#include <filesystem>
#include <random>
#include <thread>

#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "tests/load/history.h"
#include "tests/load/journal.h"
#include "tests/load/puppet_worker.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kPause(20);
constexpr std::chrono::milliseconds kPatience(2000);

/// A user: submits a job, repeats the request until it is answered, sometimes cancels, and continues with the next job.
class User {
 public:
  User(const Connection& connection, Journal* journal, const FaultLoadOptions& options, int number)
      : options_(options),
        journal_(journal),
        stub_(connection.jobs()),
        prefix_(fmt::format("user{}", number)),
        random_(options.seed * 31 + static_cast<uint32_t>(number)) {}

  void Run(const std::atomic<bool>& stop) {
    for (int job = 0; !stop; ++job) {
      const std::string name = Submit(fmt::format("{}-{}", prefix_, job));
      Pause();
      if (Chance(options_.cancelled_share)) Cancel(name);
    }
  }

 private:
  std::string Submit(const std::string& request_id) {
    const v1::SubmitJobRequest request = LoadRequest(request_id);
    while (true) {
      v1::Job job;
      const absl::Status status = Call(*stub_, &v1::JobService::Stub::SubmitJob, request, &job, kPatience);
      if (status.ok()) journal_->Submitted(request_id, job.name());
      if (status.ok()) return job.name();
      if (!IsUnanswered(status)) journal_->Violated("a submission was rejected: " + status.ToString());
      std::this_thread::sleep_for(kPause);
    }
  }

  void Cancel(const std::string& name) {
    v1::CancelJobRequest request;
    request.set_name(name);
    v1::Job job;
    const absl::Status status = Call(*stub_, &v1::JobService::Stub::CancelJob, request, &job, kPatience);
    const bool is_taken = job.state() == v1::JOB_STATE_CANCELLING || job.state() == v1::JOB_STATE_CANCELLED;
    if (status.ok() && is_taken) journal_->Cancelled(LastSegment(name));
  }

  void Pause() {
    std::exponential_distribution<double> pause(options_.jobs_per_second);
    std::this_thread::sleep_for(std::chrono::duration<double>(pause(random_)));
  }
  bool Chance(double share) { return std::uniform_real_distribution<double>()(random_) < share; }

  const FaultLoadOptions& options_;
  Journal* const journal_;
  const std::unique_ptr<v1::JobService::Stub> stub_;
  const std::string prefix_;
  std::mt19937 random_;
};

}  // namespace

absl::StatusOr<nlohmann::json> RunFaultLoad(const FaultLoadOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const auto users, Connection::Open(options.users));
  REGROUP_ASSIGN_OR_RETURN(const auto workers, Connection::Open(options.workers));
  Journal journal;
  std::atomic<bool> users_stop = false;
  std::atomic<bool> workers_stop = false;
  std::vector<std::thread> worker_threads;
  for (int i = 0; i < options.worker_count; ++i) {
    worker_threads.emplace_back([&, i] {
      PuppetWorker(*workers, &journal,
                   {.id = fmt::format("load-puppet-{}", i), .seed = options.seed + static_cast<uint32_t>(i)})
          .Run(workers_stop);
    });
  }
  std::vector<std::thread> user_threads;
  for (int i = 0; i < options.user_count; ++i) {
    user_threads.emplace_back([&, i] { User(*users, &journal, options, i).Run(users_stop); });
  }
  while (!std::filesystem::exists(options.until)) std::this_thread::sleep_for(kPause);
  users_stop = true;
  for (std::thread& user : user_threads) user.join();
  const absl::StatusOr<Verdict> verdict = Judge(*users, journal, options.patience);
  workers_stop = true;
  for (std::thread& worker : worker_threads) worker.join();
  if (!verdict.ok()) return verdict.status();
  return ToJson(*verdict, journal.promises());
}

}  // namespace regroup
