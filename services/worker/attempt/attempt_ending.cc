#include "services/worker/attempt/attempt_ending.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/wait.h>

#include <regex>
#include <string_view>
#include <utility>

#include "services/worker/gang/gang_protocol.h"

namespace regroup {
namespace {

struct SignalDeath {
  /// -1 if unknown.
  int rank;
  int signal_number;
};

/// Returns the rank that mpirun names: "mpirun noticed that process rank 1 with PID 7 on node a exited on signal 9
/// (Killed)."
std::optional<SignalDeath> DeathNamedByMpirun(const std::string& launcher_output) {
  static const std::regex pattern("process rank (\\d+) with PID \\d+ on node \\S+\\s+exited on\\s+signal (\\d+)");
  std::smatch match;
  if (!std::regex_search(launcher_output, match, pattern)) return std::nullopt;
  return SignalDeath{std::stoi(match[1]), std::stoi(match[2])};
}

std::optional<SignalDeath> FindSignalDeath(const AttemptEvidence& evidence) {
  if (evidence.killed_by_worker) return std::nullopt;
  if (evidence.ranks == 1) {
    if (!WIFSIGNALED(evidence.wait_status)) return std::nullopt;
    return SignalDeath{0, WTERMSIG(evidence.wait_status)};
  }
  if (std::optional<SignalDeath> named = DeathNamedByMpirun(evidence.launcher_output)) return named;
  if (WIFSIGNALED(evidence.wait_status)) return SignalDeath{-1, WTERMSIG(evidence.wait_status)};
  // Like a shell, mpirun exits with 128 plus the signal's number.
  const bool signalled = WIFEXITED(evidence.wait_status) && WEXITSTATUS(evidence.wait_status) > 128;
  if (signalled) return SignalDeath{-1, WEXITSTATUS(evidence.wait_status) - 128};
  return std::nullopt;
}

std::string Describe(const SignalDeath& death) {
  const char* name = sigdescr_np(death.signal_number);
  const std::string who = death.rank >= 0 ? fmt::format("rank {}", death.rank) : "a rank or mpirun";
  return fmt::format("{} died (signal {}, {})", who, death.signal_number, name == nullptr ? "unknown" : name);
}

/// Returns the first line in which regroup-rsh says that it lost a worker, or that one never came.
std::optional<std::string> FindGangLoss(const AttemptEvidence& evidence) {
  const size_t mark = evidence.launcher_output.find(kErrorMark);
  if (mark != std::string::npos) {
    const size_t begin = mark + std::string_view(kErrorMark).size();
    return evidence.launcher_output.substr(begin, evidence.launcher_output.find('\n', begin) - begin);
  }
  const bool exited_well = WIFEXITED(evidence.wait_status) && WEXITSTATUS(evidence.wait_status) == 0;
  if (evidence.missing.empty() || exited_well) return std::nullopt;
  return fmt::format("the gang did not form: {}", evidence.missing);
}

/// Returns the lost worker or rank that explains why the other ranks could not go on, if there is one.
std::optional<std::string> FindLoss(const AttemptEvidence& evidence) {
  if (std::optional<std::string> lost_worker = FindGangLoss(evidence)) return lost_worker;
  const std::optional<SignalDeath> death = FindSignalDeath(evidence);
  return death ? std::optional<std::string>(Describe(*death)) : std::nullopt;
}

v1::TaskOutcome Failed(v1::FailureClass failure_class, std::string message, const AttemptEvidence& evidence) {
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(failure_class);
  outcome.mutable_failure()->set_message(std::move(message));
  for (const std::string& line : evidence.log_tail) outcome.mutable_failure()->add_log_tail(line);
  return outcome;
}

v1::TaskOutcome Paused() {
  v1::TaskOutcome outcome;
  outcome.set_paused(true);
  return outcome;
}

v1::TaskOutcome ReportedFailure(const AttemptEvidence& evidence, const std::optional<std::string>& loss) {
  const v1::Failure& failure = evidence.reported->failure();
  const bool unclear =
      failure.failure_class() == v1::FAILURE_CLASS_INTERNAL || failure.failure_class() == v1::FAILURE_CLASS_UNSPECIFIED;
  // The surviving ranks see a broken connection, which to them looks like an internal error.
  if (unclear && loss) {
    return Failed(v1::FAILURE_CLASS_INFRA,
                  fmt::format("{}; rank {} said: {}", *loss, evidence.reported_by, failure.message()), evidence);
  }
  const bool classified = failure.failure_class() != v1::FAILURE_CLASS_UNSPECIFIED;
  v1::TaskOutcome outcome =
      Failed(classified ? failure.failure_class() : v1::FAILURE_CLASS_INTERNAL, failure.message(), evidence);
  if (failure.log_tail_size() > 0) *outcome.mutable_failure()->mutable_log_tail() = failure.log_tail();
  return outcome;
}

std::string DescribeExit(const AttemptEvidence& evidence) {
  const char* who = evidence.ranks == 1 ? "the trainer" : "mpirun";
  const int code = WEXITSTATUS(evidence.wait_status);
  if (code == 0) return fmt::format("{} exited without reporting an outcome", who);
  return fmt::format("{} exited with status {}{}", who, code,
                     evidence.reported ? " after it had reported success" : " without reporting an outcome");
}

}  // namespace

v1::TaskOutcome DecideOutcome(const AttemptEvidence& evidence) {
  const bool exited_well = WIFEXITED(evidence.wait_status) && WEXITSTATUS(evidence.wait_status) == 0;
  const std::optional<std::string> loss = FindLoss(evidence);
  if (evidence.reported && !evidence.reported->has_failure() && exited_well) return *evidence.reported;
  // Its checkpoint is complete.
  if (evidence.reported && evidence.reported->paused()) return *evidence.reported;
  if (evidence.reported && evidence.reported->has_failure()) return ReportedFailure(evidence, loss);
  if (evidence.verdict && evidence.verdict->is_pause) return Paused();
  if (evidence.verdict) return Failed(evidence.verdict->failure_class, evidence.verdict->message, evidence);
  if (loss) return Failed(v1::FAILURE_CLASS_INFRA, *loss, evidence);
  return Failed(v1::FAILURE_CLASS_INTERNAL, DescribeExit(evidence), evidence);
}

}  // namespace regroup
