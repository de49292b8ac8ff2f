// regroup-rsh NODE COMMAND...: mpirun uses it as the remote shell for gangs on several workers.
#include <google/protobuf/util/json_util.h>
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/parent_death.h"
#include "services/common/base/status_macros.h"
#include "services/worker/gang/gang_protocol.h"
#include "services/worker/gang/remote_shell.h"

namespace regroup {
namespace {

absl::StatusOr<v1::GangCall> ReadGangFile() {
  const char* path = std::getenv(kGangFileVariable);
  if (path == nullptr) return absl::InvalidArgumentError("only regroup-worker starts this program, through mpirun");
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  v1::GangCall call;
  if (google::protobuf::util::JsonStringToMessage(text, &call).ok()) return call;
  return absl::InvalidArgumentError(std::string(path) + " cannot be read");
}

absl::StatusOr<int> Run(int argc, char** argv) {
  REGROUP_ASSIGN_OR_RETURN(const v1::GangCall call, ReadGangFile());
  std::string command;
  for (int i = 2; i < argc; ++i) command += std::string(argv[i]) + " ";
  REGROUP_ASSIGN_OR_RETURN(const std::vector<v1::DaemonSetting> settings, SettingsOf(SplitCommand(command)));
  return RunRemoteDaemon(call, argc > 1 ? argv[1] : "", settings);
}

int Main(int argc, char** argv) {
  // The call that holds the daemon must not outlive mpirun.
  if (!DieWithParent(SIGKILL)) return 1;
  const absl::StatusOr<int> status = Run(argc, argv);
  if (status.ok()) return *status;
  std::cerr << kErrorMark << std::string(status.status().message()) << std::endl;
  return 1;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
