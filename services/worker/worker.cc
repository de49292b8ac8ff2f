#include "services/worker/worker.h"

#include <cstdlib>
#include <random>
#include <utility>

#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/worker/attempt/runtime_folder.h"
#include "services/worker/machine.h"
#include "services/worker/machine_check.h"
#include "services/worker/process/leftovers.h"

namespace regroup {
namespace {

constexpr const char* kLockFile = "lock";
/// A predecessor that was asked to stop needs at most this long.
constexpr std::chrono::seconds kLockPatience{15};
/// A worker that stops tries for this long to report its attempts' outcomes to the coordinator.
constexpr std::chrono::seconds kFarewellPatience{3};

uint64_t RandomIncarnation() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

std::string EnvironmentVariable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Makes the folder and locks it; repeats this if a predecessor that is ending removes the folder in between.
absl::StatusOr<WorkerLock> ClaimRuntimeFolder(const WorkerOptions& options, std::filesystem::path& folder) {
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(folder, MakeRuntimeFolder(WorkerKey(options), EnvironmentVariable("XDG_RUNTIME_DIR")));
    absl::StatusOr<WorkerLock> lock = WorkerLock::Acquire(folder / kLockFile, kLockPatience);
    if (!absl::IsNotFound(lock.status())) return lock;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const WorkerOptions& options,
                                                      std::shared_ptr<grpc::Channel> channel) {
  std::filesystem::path folder;
  REGROUP_ASSIGN_OR_RETURN(WorkerLock lock, ClaimRuntimeFolder(options, folder));
  REGROUP_RETURN_IF_ERROR(KillLeftovers(options));
  EmptyRuntimeFolder(folder, folder / kLockFile);
  RemoveSharedMemoryFolders(WorkerKey(options));
  std::unique_ptr<Worker> worker(new Worker(options, std::move(lock)));
  REGROUP_RETURN_IF_ERROR(worker->StartTrainerServer(folder));
  if (options.checks_machine) REGROUP_RETURN_IF_ERROR(CheckMachine(worker->services_));
  worker->StartReporting(std::move(channel));
  REGROUP_RETURN_IF_ERROR(worker->StartGangServer());
  worker->StartAsking();
  return worker;
}

absl::Status Worker::StartTrainerServer(const std::filesystem::path& folder) {
  REGROUP_ASSIGN_OR_RETURN(trainer_server_, TrainerServer::Start(folder / "worker.sock", &lease_end_));
  services_.trainer_server = trainer_server_.get();
  services_.collectors = &collectors_;
  services_.runtime_folder = folder;
  services_.inherited = CurrentEnvironment();
  services_.cores = UsableCores();
  return absl::OkStatus();
}

void Worker::StartReporting(std::shared_ptr<grpc::Channel> channel) {
  link_ = std::make_unique<CoordinatorLink>(
      std::move(channel), WorkerIdentity{.id = services_.options.id, .incarnation = RandomIncarnation()});
  pusher_ = std::make_unique<LogPusher>(link_.get(), &collectors_);
  reporter_ = std::make_unique<OutcomeReporter>(link_.get(), pusher_.get(), services_.options.work_folder);
  table_ = std::make_unique<AttemptTable>(
      &services_, UsableGpus(services_.options.device),
      [reporter = reporter_.get()](EndedAttempt ended) { reporter->Add(std::move(ended)); },
      [this] { may_ask_.Announce(); });
}

absl::Status Worker::StartGangServer() {
  if (services_.options.gang.listen.empty()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(gang_server_, GangServer::Start(&services_.options, table_.get()));
  LogInfo("listening for other workers of gangs", {{"address", gang_server_->address()}});
  return absl::OkStatus();
}

WorkerDescription Worker::Describe() const {
  return {.slots = services_.options.slots,
          .device = services_.options.device,
          .device_name = DeviceName(services_.options.device),
          .host = HostName(),
          .version = REGROUP_VERSION,
          .gang_address = gang_server_ != nullptr ? gang_server_->address() : ""};
}

void Worker::StartAsking() {
  keeper_ = std::make_unique<LeaseKeeper>(link_.get(), table_.get(), &lease_end_, Describe(), &may_ask_);
  acquirer_ = std::make_unique<TaskAcquirer>(link_.get(), table_.get(), keeper_.get(), &may_ask_,
                                             services_.options.acquire_wait);
}

void Worker::Stop() {
  if (acquirer_ == nullptr) return;
  LogInfo("stopping", {{"attempts", table_->Keys().size()}});
  acquirer_.reset();
  table_->StopAll({.verdict = {v1::FAILURE_CLASS_INFRA, "the worker was stopped"}});
  table_->WaitForEnds();
  const bool told = table_->WaitUntilEmpty(std::chrono::steady_clock::now() + kFarewellPatience);
  if (!told) LogWarning("could not report the last attempts' outcomes to the coordinator");
  keeper_.reset();
}

Worker::~Worker() {
  Stop();
  // The reporter must not call a destroyed table; attempts that end later stay with the reporter.
  if (reporter_ != nullptr) reporter_->Shutdown();
  // Before the runtime folder is removed and with it the lock that keeps a successor waiting.
  pusher_.reset();
  gang_server_.reset();
  table_.reset();
  trainer_server_.reset();
  if (!services_.runtime_folder.empty()) {
    RemoveRuntimeFolder(services_.runtime_folder, services_.runtime_folder / kLockFile);
  }
}

}  // namespace regroup
