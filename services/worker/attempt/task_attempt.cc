#include "services/worker/attempt/task_attempt.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <signal.h>

#include <string>
#include <utility>

#include "regroup/v1/gang_service.pb.h"
#include "services/common/base/attempt_files.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"
#include "services/worker/attempt/publication.h"
#include "services/worker/gang/gang_protocol.h"

namespace regroup {
namespace {

/// The interval at which logs are forwarded and the rules to stop are checked.
constexpr std::chrono::milliseconds kVisitInterval{200};

bool IsPlainName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
}

absl::Status WriteJson(const google::protobuf::Message& message, const std::filesystem::path& path) {
  google::protobuf::util::JsonPrintOptions style;
  style.preserve_proto_field_names = true;
  style.add_whitespace = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, style);
  if (!status.ok()) return absl::InternalError(fmt::format("cannot write {}: {}", path.string(), status.ToString()));
  return WritePrivateFile(path, text);
}

/// Writes the assignment for the trainers, without the gang: they need neither its members nor its token.
absl::Status WriteAssignment(v1::TaskAssignment assignment, const std::filesystem::path& path) {
  assignment.clear_gang();
  return WriteJson(assignment, path);
}

std::shared_ptr<RankBoard> MakeBoard(const v1::TaskAssignment& assignment, const AttemptKey& key) {
  if (assignment.gang().members_size() < 2) return std::make_shared<RankBoard>(key, assignment.ranks());
  std::vector<int> ranks;
  for (const v1::GangMember& member : assignment.gang().members()) ranks.push_back(member.ranks());
  return std::make_shared<RankBoard>(key, ranks);
}

}  // namespace

TaskAttempt::TaskAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services)
    : SupervisedAttempt(std::move(assignment), std::move(visible_devices), services),
      board_(MakeBoard(assignment_, key_)),
      contact_(std::make_shared<LocalContact>(board_, collector_)) {}

void TaskAttempt::RequestPause() {
  // The coordinator asks again with every heartbeat.
  if (assignment_.kind() == v1::TASK_KIND_FINETUNE) return board_->Pause();
  RequestStop({.verdict = {.message = "its job is paused", .is_pause = true}});
}

v1::TaskOutcome TaskAttempt::Run() {
  AcceptRanks(contact_);
  if (const std::optional<v1::TaskOutcome> refusal = RefusePaths()) return *refusal;
  absl::Status status = Prepare();
  if (status.ok()) status = StartRanks();
  if (!status.ok()) return FailedToStart(status);
  killed_ = Supervise(kVisitInterval);
  KillEverything();
  logs_->ForwardRest();
  const v1::TaskOutcome outcome = DecideOutcome(GatherEvidence());
  if (outcome.has_failure() || outcome.paused()) RemoveStaged(assignment_, services_->options.work_folder);
  return outcome;
}

std::optional<v1::TaskOutcome> TaskAttempt::RefusePaths() const {
  const std::vector<FieldViolation> violations =
      CheckAllowedPaths(assignment_.spec(), services_->options.allowed_paths);
  if (violations.empty()) return std::nullopt;
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(v1::FAILURE_CLASS_USER);
  outcome.mutable_failure()->set_message(
      fmt::format("{}: {}", violations.front().field(), violations.front().description()));
  return outcome;
}

v1::TaskOutcome TaskAttempt::FailedToStart(const absl::Status& status) const {
  const std::string message = fmt::format("the attempt could not be started: {}", std::string(status.message()));
  LogError(message, {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}});
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(v1::FAILURE_CLASS_INFRA);
  outcome.mutable_failure()->set_message(message);
  return outcome;
}

absl::Status TaskAttempt::Prepare() {
  if (token_.empty()) return absl::InternalError("cannot read random bytes for the attempt's token");
  if (!IsPlainName(key_.job) || !IsPlainName(key_.task)) {
    return absl::InvalidArgumentError(fmt::format("{} cannot be the name of a folder", ToString(key_)));
  }
  const std::filesystem::path logs = RankLogFolder(folder_);
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(folder_));
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder_ / attempt_files::kResults));
  // Open MPI makes the ranks' own files in it, by the umask.
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(logs));
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(logs / (assignment_.ranks() > 1 ? "mpirun" : "rank.0")));
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(temporary_folder_));
  if (is_spread()) REGROUP_RETURN_IF_ERROR(WriteGangFiles());
  return WriteAssignment(assignment_, folder_ / attempt_files::kAssignment);
}

absl::Status TaskAttempt::WriteGangFiles() const {
  const GangOptions& options = services_->options.gang;
  v1::GangCall call;
  *call.mutable_attempt() = assignment_.attempt();
  *call.mutable_gang() = assignment_.gang();
  call.set_tls_certificate(options.tls.certificate);
  call.set_tls_key(options.tls.private_key);
  call.set_tls_authority(options.tls.certificate_authority);
  *call.mutable_join_patience() =
      google::protobuf::util::TimeUtil::MillisecondsToDuration(options.join_patience.count());
  REGROUP_RETURN_IF_ERROR(WriteJson(call, temporary_folder_ / kGangFile));
  return WritePrivateFile(temporary_folder_ / kHostFile, HostFileText(assignment_.gang()));
}

std::string TaskAttempt::WhoIsMissing() const {
  const std::optional<int> missing = is_spread() ? board_->FirstMissingMember() : std::nullopt;
  if (!missing) return "";
  const v1::GangMember& member = assignment_.gang().members(*missing);
  return fmt::format("worker {} ({}) did not join with all its {} ranks", member.worker(), member.address(),
                     member.ranks());
}

absl::Status TaskAttempt::StartRanks() {
  if (assignment_.ranks() > 1 && !is_spread()) {
    REGROUP_RETURN_IF_ERROR(CheckLoopbackModule(services_->options.loopback_module));
  }
  const ProcessPlan plan = MakeProcessPlan(services_->options, assignment_, MakeLaunchContext());
  logs_.emplace(RankLogFolder(folder_), assignment_.ranks(), collector_.get());
  start_time_ = std::chrono::steady_clock::now();
  REGROUP_RETURN_IF_ERROR(StartProcesses(plan));
  LogInfo("attempt started", {{"job", key_.job},
                              {"task", key_.task},
                              {"epoch", key_.epoch},
                              {"ranks", assignment_.ranks()},
                              {"process", processes_->leader()},
                              {"held_by", processes_->has_control_group() ? "control group" : "process group"},
                              {kTraceparentKey, assignment_.traceparent()}});
  return absl::OkStatus();
}

std::optional<StopRequest> TaskAttempt::FindReasonToStop(SteadyTime now) {
  if (const std::string refusal = board_->refusal(); !refusal.empty()) {
    return StopRequest{{v1::FAILURE_CLASS_INFRA, refusal}, false};
  }
  return FindOverdue(now);
}

std::optional<StopRequest> TaskAttempt::FindOverdue(SteadyTime now) const {
  const WorkerOptions& options = services_->options;
  if (const std::optional<SteadyTime> outcome_time = board_->outcome_time()) {
    const bool failed = board_->outcome()->has_failure();
    if (now - *outcome_time < (failed ? std::chrono::milliseconds(0) : options.exit_patience)) return std::nullopt;
    return StopRequest{{v1::FAILURE_CLASS_INTERNAL, "the processes did not exit after the outcome was reported"},
                       false};
  }
  const int attested = board_->attested();
  if (attested < assignment_.ranks() && now - start_time_ >= options.attest_patience) {
    return StopRequest{
        {v1::FAILURE_CLASS_INFRA,
         fmt::format("{} of {} ranks had reported to the worker after {} s{}{}", attested, assignment_.ranks(),
                     options.attest_patience.count() / 1000, is_spread() ? "; " : "", WhoIsMissing())},
        true};
  }
  if (assignment_.watchdog_s() <= 0) return std::nullopt;
  if (const auto hang = board_->FindHang(std::chrono::seconds(assignment_.watchdog_s()), now)) {
    return StopRequest{{v1::FAILURE_CLASS_HANG, *hang}, true};
  }
  return std::nullopt;
}

void TaskAttempt::OnStop(const StopRequest& request) {
  const std::optional<v1::TaskOutcome> outcome = board_->outcome();
  board_->Stop();
  if (outcome && outcome->has_failure()) return;
  verdict_ = request.verdict;
  LogInfo("stopping the attempt", {{"job", key_.job},
                                   {"task", key_.task},
                                   {"epoch", key_.epoch},
                                   {"reason", request.verdict.message},
                                   {kTraceparentKey, assignment_.traceparent()}});
  if (!request.at_once) processes_->Signal(SIGTERM);
}

AttemptEvidence TaskAttempt::GatherEvidence() {
  AttemptEvidence evidence{.ranks = assignment_.ranks(),
                           .wait_status = processes_->wait_status(),
                           .reported = board_->outcome(),
                           .reported_by = board_->outcome_rank(),
                           .verdict = verdict_,
                           .killed_by_worker = killed_,
                           .launcher_output = logs_->launcher_output(),
                           .missing = WhoIsMissing(),
                           .log_tail = collector_->Tail()};
  const bool is_echo = verdict_ && evidence.reported && evidence.reported->has_failure();
  if (is_echo) evidence.reported.reset();
  return evidence;
}

}  // namespace regroup
