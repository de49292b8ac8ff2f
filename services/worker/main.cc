// regroup-worker: leases tasks from a coordinator and runs them in trainer processes of this machine.
#include <signal.h>

#include <string>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/parent_death.h"
#include "services/common/base/paths.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/certificate_watch.h"
#include "services/common/rpc/channel.h"
#include "services/worker/worker.h"
#include "services/worker/worker_options.h"

namespace regroup {
namespace {

/// Blocks the signals that end the worker, in this thread and in all threads that it starts, and returns them.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

absl::Status RunUntilSignal(const WorkerFlags& flags, const sigset_t& signals) {
  REGROUP_RETURN_IF_ERROR(CheckCurrentFolder());
  REGROUP_RETURN_IF_ERROR(CheckSlots(flags.worker));
  REGROUP_RETURN_IF_ERROR(MakeFolders(flags.worker.work_folder));
  REGROUP_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(flags.coordinator, flags.identity));
  for (const std::string& doubt : DoubtsAbout(flags.worker.allowed_paths, flags.worker.work_folder)) LogWarning(doubt);
  const CertificateWatch certificates(flags.identity.tls);
  absl::StatusOr<std::unique_ptr<Worker>> started = Worker::Start(flags.worker, std::move(channel));
  if (absl::IsCancelled(started.status())) {
    LogInfo(std::string(started.status().message()));
    return absl::OkStatus();
  }
  REGROUP_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker, std::move(started));
  LogInfo("worker started", {{"id", flags.worker.id},
                             {"coordinator", flags.coordinator},
                             {"work_dir", flags.worker.work_folder.string()},
                             {"slots", flags.worker.slots},
                             {"device", flags.worker.device}});
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  LogInfo("signal received", {{"signal", signal_number}});
  worker->Stop();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  int exit_status = 0;
  const std::optional<WorkerFlags> flags = ParseWorkerFlags(argc, argv, &exit_status);
  if (!flags) return exit_status;
  KeepOthersFromWriting();
  InitLogging("worker", flags->log_format, flags->log_level);
  const sigset_t signals = BlockStopSignals();
  if (flags->die_with_parent && !DieWithParent(SIGTERM)) return 0;
  const absl::Status status = RunUntilSignal(*flags, signals);
  if (status.ok()) return 0;
  LogError(std::string(status.message()));
  return 1;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
