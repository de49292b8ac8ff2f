#include "services/worker/attempt/task_attempt.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <signal.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "regroup/v1/gang_service.pb.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/worker/attempt/publication.h"
#include "services/worker/gang/gang_files.h"

namespace regroup {
namespace {

/// How often logs are read and rules are checked.
constexpr std::chrono::milliseconds kVisitInterval{200};

std::string RandomToken() {
  unsigned char bytes[16];
  static_cast<void>(!getrandom(bytes, sizeof bytes, 0));
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

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
  return WriteFileAtomically(path, text);
}

/// For the trainers, which need not know how the gang is spread, and whom its secret does not concern.
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

v1::TaskAssignment WithAtLeastOneRank(v1::TaskAssignment assignment) {
  assignment.set_ranks(std::max(1, assignment.ranks()));
  return assignment;
}

}  // namespace

TaskAttempt::TaskAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services,
                         EndCallback on_end)
    : assignment_(WithAtLeastOneRank(std::move(assignment))),
      key_(KeyOf(assignment_.attempt())),
      visible_devices_(std::move(visible_devices)),
      services_(services),
      folder_(AttemptFolder(services->options.work_folder, key_)),
      temporary_folder_(services->runtime_folder / fmt::format("t{}", NextAttemptNumber())),
      token_(is_spread() ? assignment_.gang().token() : RandomToken()),
      board_(MakeBoard(assignment_, key_)),
      collector_(std::make_shared<LogCollector>(key_, services->options.id)),
      contact_(std::make_shared<LeadContact>(board_, collector_)) {
  thread_ = std::thread([this, on_end = std::move(on_end)] { Run(on_end); });
}

TaskAttempt::~TaskAttempt() {
  RequestStop({.verdict = {v1::FAILURE_CLASS_INFRA, "the worker dropped the attempt"}, .at_once = true});
  thread_.join();
}

void TaskAttempt::RequestStop(StopRequest request) {
  const std::lock_guard lock(mutex_);
  AddStopRequest(std::move(request), stop_request_);
  if (processes_) processes_->Wake();
}

void TaskAttempt::WaitForEnd() {
  std::unique_lock lock(mutex_);
  ended_condition_.wait(lock, [this] { return ended_; });
}

void TaskAttempt::Run(const EndCallback& on_end) {
  services_->trainer_server->Add(token_, contact_);
  const v1::TaskOutcome outcome = RunToEnd();
  services_->trainer_server->Remove(token_);
  std::error_code ignored;
  std::filesystem::remove_all(temporary_folder_, ignored);
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    ended_condition_.notify_all();
  }
  on_end(key_, outcome);
}

v1::TaskOutcome TaskAttempt::RunToEnd() {
  if (const std::optional<v1::TaskOutcome> refusal = RefusePaths()) return *refusal;
  absl::Status status = Prepare();
  if (status.ok()) status = StartProcesses();
  if (!status.ok()) return FailedToStart(status);
  Supervise();
  KillEverythingOf(key_, *processes_);
  logs_->ForwardRest();
  const v1::TaskOutcome outcome = DecideOutcome(GatherEvidence());
  if (outcome.has_failure()) RemoveStaged(assignment_);
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
  if (!IsPlainName(key_.job) || !IsPlainName(key_.task)) {
    return absl::InvalidArgumentError(fmt::format("{} cannot be the name of a folder", ToString(key_)));
  }
  const std::filesystem::path logs = RankLogFolder(folder_);
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(folder_));
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder_ / "out"));
  REGROUP_RETURN_IF_ERROR(MakeFolders(logs / (assignment_.ranks() > 1 ? "mpirun" : "rank.0")));
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(temporary_folder_));
  if (is_spread()) REGROUP_RETURN_IF_ERROR(WriteGangFiles());
  return WriteAssignment(assignment_, folder_ / "assignment.json");
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
  return WriteFileAtomically(temporary_folder_ / kHostFile, HostFileText(assignment_.gang()));
}

std::string TaskAttempt::WhoIsMissing() const {
  const std::optional<int> missing = is_spread() ? board_->FirstMissingMember() : std::nullopt;
  if (!missing) return "";
  const v1::GangMember& member = assignment_.gang().members(*missing);
  return fmt::format("worker {} ({}) did not join with all its {} ranks", member.worker(), member.address(),
                     member.ranks());
}

absl::Status TaskAttempt::StartProcesses() {
  const ProcessPlan plan = MakeProcessPlan(services_->options, assignment_,
                                           {.socket = services_->trainer_server->socket(),
                                            .token = token_,
                                            .attempt_folder = folder_,
                                            .temporary_folder = temporary_folder_,
                                            .cores = services_->cores,
                                            .visible_devices = visible_devices_,
                                            .inherited = services_->inherited});
  std::optional<ControlGroup> group =
      ControlGroup::Create(fmt::format("{}{}", ControlGroupPrefix(services_->options), NextAttemptNumber()));
  const char* held_by = group ? "control group" : "process group";
  logs_.emplace(RankLogFolder(folder_), assignment_.ranks(), collector_.get());
  start_time_ = std::chrono::steady_clock::now();
  REGROUP_ASSIGN_OR_RETURN(std::unique_ptr<ProcessGroup> processes, ProcessGroup::Start(plan, std::move(group)));
  LogInfo("attempt started", {{"job", key_.job},
                              {"task", key_.task},
                              {"epoch", key_.epoch},
                              {"ranks", assignment_.ranks()},
                              {"process", processes->leader()},
                              {"held_by", held_by}});
  const std::lock_guard lock(mutex_);
  processes_ = std::move(processes);
  return absl::OkStatus();
}

void TaskAttempt::Supervise() {
  while (!processes_->WaitForExit(kVisitInterval)) {
    logs_->Forward();
    killed_ = MustKill(std::chrono::steady_clock::now());
    if (killed_) return;
  }
}

bool TaskAttempt::MustKill(SteadyTime now) {
  if (const std::optional<StopRequest> request = FindReasonToStop(now)) BeginStop(*request, now);
  return kill_time_ && now >= *kill_time_;
}

/// A failure that a rank reported needs no verdict: the others are only given time to leave.
std::optional<StopRequest> TaskAttempt::FindReasonToStop(SteadyTime now) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_request_) return stop_request_;
  }
  if (kill_time_) return std::nullopt;
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

void TaskAttempt::BeginStop(const StopRequest& request, SteadyTime now) {
  if (!kill_time_) {
    const std::optional<v1::TaskOutcome> outcome = board_->outcome();
    const bool failed_already = outcome && outcome->has_failure();
    board_->Stop();
    kill_time_ = now + services_->options.stop_grace;
    if (!failed_already) Condemn(request);
  }
  if (request.at_once) kill_time_ = now;
}

void TaskAttempt::Condemn(const StopRequest& request) {
  verdict_ = request.verdict;
  LogInfo("stopping the attempt",
          {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}, {"reason", request.verdict.message}});
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
