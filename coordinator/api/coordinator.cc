#include "coordinator/api/coordinator.h"

#include <fmt/format.h>

#include "coordinator/api/job_files.h"
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
      access_(options.token_file),
      core_(options.cluster, store_.get(), &feeds_, &metrics_, SteadyWallClock()),
      job_service_(&core_, store_.get(), &feeds_, &pump_, &access_, options.allowed_paths),
      worker_service_(&core_, &metrics_, &access_),
      cluster_service_(
          &core_, store_.get(), &access_, &errands_,
          {.start_time = SteadyWallClock()(),
           .backup_folder = options.backup_folder.empty() ? options.state_folder / "backups" : options.backup_folder}) {
}

/// Certificates say which machines may connect, tokens who may do what: an address of the network needs both.
absl::Status Coordinator::CheckIsClosed(const CoordinatorOptions& options) const {
  if (IsLocalAddress(options.listen) || !access_.IsOpen()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} can be reached from other machines and so needs tokens: make them with `regroup-coordinator init` "
      "or `regroup-coordinator token add`, and name their file with --tokens",
      options.listen));
}

absl::Status Coordinator::Serve(const CoordinatorOptions& options) {
  REGROUP_RETURN_IF_ERROR(access_.Load());
  REGROUP_RETURN_IF_ERROR(CheckIsClosed(options));
  if (!access_.IsOpen() && (options.allowed_paths.data_roots.empty() || options.allowed_paths.output_roots.empty())) {
    LogWarning("jobs may name every path that the workers reach; allow some with --data-root and --output-root");
  }
  if (!options.metrics_listen.empty()) {
    if (!IsLocalAddress(options.metrics_listen)) {
      LogWarning("metrics can be read from other machines without a password", {{"address", options.metrics_listen}});
    }
    REGROUP_ASSIGN_OR_RETURN(metrics_port_, metrics_.metrics().Serve(options.metrics_listen));
  }
  core_.Listen(
      {.job_ended = [this](const v1::Job& job) { errands_.Run([job] { RemoveStagedResults(job); }); },
       .job_deleted = [this, folder = options.work_folder](
                          const std::string& job) { errands_.Run([folder, job] { RemoveJobFiles(folder, job); }); }});
  core_.KeepFinishedJobs(options.keep_finished);
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
  errands_.Stop();
  pump_.Stop();
}

}  // namespace regroup
