#include "coordinator/main/backup_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "regroup/v1/cluster_service.grpc.pb.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/security_flags.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

struct BackupOptions {
  std::string coordinator = "127.0.0.1:7447";
  ClientIdentity identity;
  std::string name;
};

absl::Status Backup(const BackupOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const auto channel, OpenChannel(options.coordinator, options.identity));
  v1::BackupStoreRequest request;
  request.set_name(options.name);
  v1::BackupStoreResponse response;
  grpc::ClientContext context;
  REGROUP_RETURN_IF_ERROR(FromGrpc(v1::ClusterService::NewStub(channel)->BackupStore(&context, request, &response)));
  fmt::print("{} ({} bytes)\n", response.path(), response.bytes());
  return absl::OkStatus();
}

}  // namespace

void AddBackupCommand(CLI::App* app, std::function<absl::Status()>* selected) {
  CLI::App* const command = app->add_subcommand("backup", "Back up the store of a running coordinator");
  const auto options = std::make_shared<BackupOptions>();
  command->add_option("--coordinator", options->coordinator, "The coordinator's host:port")
      ->envname("REGROUP_COORDINATOR")
      ->capture_default_str();
  command->add_option("--name", options->name,
                      "File name in the coordinator's --backup-dir; default: from the current time");
  AddIdentityFlags(command, &options->identity);
  command->callback([=] { *selected = [=] { return Backup(*options); }; });
}

}  // namespace regroup
