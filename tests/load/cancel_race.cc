#include "tests/load/cancel_race.h"

#include <fmt/format.h>

#include <random>
#include <thread>

#include "coordinator/job/job.h"
#include "services/common/base/error.h"
#include "services/common/base/final_states.h"
#include "services/common/base/status_macros.h"
#include "tests/load/puppet_worker.h"

namespace regroup {
namespace {

constexpr uint32_t kLongestDelayUs = 10000;

/// Stores the answers that each side received, and the job's final state.
struct Round {
  absl::Status cancelled;
  v1::JobState told = v1::JOB_STATE_UNSPECIFIED;
  absl::Status finished;
  v1::Job job;
};

/// Returns one sentence if the three do not agree; empty if they do.
std::string FaultOf(const Round& round) {
  const v1::JobState end = round.job.state();
  if (end == v1::JOB_STATE_SUCCEEDED) {
    if (!round.finished.ok()) return "the job succeeded without its last result";
    if (!round.cancelled.ok()) return ReasonOf(round.cancelled) == v1::WRONG_STATE ? "" : round.cancelled.ToString();
    return round.told == v1::JOB_STATE_SUCCEEDED ? "" : "a cancellation was acknowledged and the job succeeded";
  }
  if (end != v1::JOB_STATE_CANCELLED) return "the job ended as " + v1::JobState_Name(end);
  if (round.finished.ok()) return "the last result was accepted and the job is cancelled";
  return round.cancelled.ok() ? "" : "the cancellation was rejected and the job is cancelled";
}

class Racer {
 public:
  Racer(const Connection& users, const Connection& workers, uint32_t seed)
      : jobs_(users.jobs()), puppet_(workers, &journal_, {.id = "load-racer", .mischief = 0}), random_(seed) {}

  absl::StatusOr<Round> Run(int number) {
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(
        Call(*jobs_, &v1::JobService::Stub::SubmitJob, LoadRequest(fmt::format("race-{}", number)), &job));
    REGROUP_ASSIGN_OR_RETURN(const v1::TaskAssignment last, WorkUpToTheReport());
    // An attempt that a heartbeat listed ends when the next one omits it; otherwise it ends only with the lease.
    puppet_.SayWhatRuns();
    Round round;
    v1::CancelJobRequest request;
    request.set_name(job.name());
    v1::Job response;
    const std::chrono::microseconds user_delay(random_() % kLongestDelayUs);
    const std::chrono::microseconds worker_delay(random_() % kLongestDelayUs);
    std::thread canceller([&] {
      std::this_thread::sleep_for(user_delay);
      round.cancelled = Call(*jobs_, &v1::JobService::Stub::CancelJob, request, &response);
    });
    std::this_thread::sleep_for(worker_delay);
    round.finished = puppet_.Finish(last);
    canceller.join();
    puppet_.SayWhatRuns();
    round.told = response.state();
    REGROUP_ASSIGN_OR_RETURN(round.job, WaitForEnd(job.name()));
    return round;
  }

 private:
  absl::StatusOr<v1::TaskAssignment> WorkUpToTheReport() {
    const auto deadline = std::chrono::steady_clock::now() + kCallPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      puppet_.KeepRegistered();
      const auto assignment = puppet_.Acquire(std::chrono::milliseconds(500));
      if (!assignment) continue;
      if (assignment->kind() == v1::TASK_KIND_REPORT) return *assignment;
      REGROUP_RETURN_IF_ERROR(puppet_.Finish(*assignment));
    }
    return absl::DeadlineExceededError("no report task came");
  }

  /// Waits for the job's end; a cancelled attempt ends when its worker no longer lists it.
  absl::StatusOr<v1::Job> WaitForEnd(const std::string& name) {
    const auto deadline = std::chrono::steady_clock::now() + kCallPatience;
    v1::GetJobRequest request;
    request.set_name(name);
    while (std::chrono::steady_clock::now() < deadline) {
      v1::Job job;
      REGROUP_RETURN_IF_ERROR(Call(*jobs_, &v1::JobService::Stub::GetJob, request, &job));
      if (IsFinalState(job.state())) return job;
      puppet_.KeepRegistered();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return absl::DeadlineExceededError(name + " does not end");
  }

  const std::unique_ptr<v1::JobService::Stub> jobs_;
  Journal journal_;
  PuppetWorker puppet_;
  std::mt19937 random_;
};

}  // namespace

absl::StatusOr<nlohmann::json> RaceCancel(const LoadOptions& users, const LoadOptions& workers,
                                          const CancelRace& race) {
  REGROUP_ASSIGN_OR_RETURN(const auto user_connection, Connection::Open(users));
  REGROUP_ASSIGN_OR_RETURN(const auto worker_connection, Connection::Open(workers));
  Racer racer(*user_connection, *worker_connection, race.seed);
  int succeeded = 0;
  int cancelled = 0;
  std::vector<std::string> violations;
  for (int number = 0; number < race.rounds; ++number) {
    REGROUP_ASSIGN_OR_RETURN(const Round round, racer.Run(number));
    ++(round.job.state() == v1::JOB_STATE_SUCCEEDED ? succeeded : cancelled);
    const std::string fault = FaultOf(round);
    if (!fault.empty()) violations.push_back(round.job.name() + ": " + fault);
  }
  return nlohmann::json{
      {"rounds", race.rounds}, {"succeeded", succeeded}, {"cancelled", cancelled}, {"violations", violations}};
}

}  // namespace regroup
