#include "coordinator/api/coordinator.h"

#include <fmt/format.h>

#include "coordinator/store/sqlite_job_store.h"
#include "services/base/logging.h"
#include "services/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kMostStreams = 1000;
constexpr std::chrono::milliseconds kGraceOnDestruction(500);

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(auto store, SqliteJobStore::Open({.path = options.state_folder / "regroup.db"}));
  return Start(options, std::move(store));
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions& options,
                                                                std::unique_ptr<JobStore> store) {
  std::unique_ptr<Coordinator> coordinator(new Coordinator(options, std::move(store)));
  REGROUP_RETURN_IF_ERROR(coordinator->Serve(options));
  return coordinator;
}

Coordinator::Coordinator(const CoordinatorOptions& options, std::unique_ptr<JobStore> store)
    : store_(std::move(store)),
      pump_(kMostStreams),
      core_(options.cluster, store_.get(), &feeds_, &metrics_, SteadyWallClock()),
      job_service_(&core_, store_.get(), &feeds_, &pump_, options.work_folder),
      worker_service_(&core_, &metrics_),
      cluster_service_(&core_, SteadyWallClock()()) {}

absl::Status Coordinator::Serve(const CoordinatorOptions& options) {
  if (!options.metrics_listen.empty()) {
    if (!IsLocalAddress(options.metrics_listen)) {
      LogWarning("metrics can be read from other machines without a password", {{"address", options.metrics_listen}});
    }
    REGROUP_ASSIGN_OR_RETURN(metrics_port_, metrics_.metrics().Serve(options.metrics_listen));
  }
  REGROUP_RETURN_IF_ERROR(core_.Recover());
  RpcServerOptions server;
  server.address = options.listen;
  server.tls = options.tls;
  server.observer = [this](std::string_view method, grpc::StatusCode code, double seconds) {
    metrics_.ObserveCall(method, code, seconds);
  };
  REGROUP_ASSIGN_OR_RETURN(server_, RpcServer::Start(server, {&job_service_, &worker_service_, &cluster_service_}));
  core_.Start();
  server_->SetServing(true);
  return absl::OkStatus();
}

Coordinator::~Coordinator() { Stop(kGraceOnDestruction); }

void Coordinator::Stop(std::chrono::milliseconds grace) {
  if (server_ == nullptr || is_stopped_) return;
  is_stopped_ = true;
  server_->SetServing(false);
  // Waits and streams would otherwise use up the grace.
  core_.EndWaits();
  pump_.EndStreams();
  server_->Stop(grace);
  core_.Stop();
  pump_.Stop();
}

}  // namespace regroup
