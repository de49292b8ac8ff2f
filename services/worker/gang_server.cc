#include "services/worker/gang_server.h"

#include <fmt/format.h>

#include <utility>

#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/worker_channel.h"
#include "services/worker/gang/gang_protocol.h"
#include "services/worker/machine.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{100};
/// A daemon's call lasts as long as its task, so its connection must not be closed for its age; the longest age that
/// gRPC can count in milliseconds is 24 days.
constexpr std::chrono::hours kConnectionAge{24 * 24};

/// Compares digests, so that the time it takes does not reveal how much of a guess is right.
bool IsSameSecret(const std::string& a, const std::string& b) { return Sha256Of(a) == Sha256Of(b); }

}  // namespace

absl::StatusOr<std::unique_ptr<GangServer>> GangServer::Start(const WorkerOptions* options, AttemptTable* table) {
  std::unique_ptr<GangServer> server(new GangServer(options, table));
  RpcServerOptions rpc;
  rpc.address = options->gang.listen;
  rpc.tls = options->gang.tls;
  rpc.max_connection_age = kConnectionAge;
  REGROUP_ASSIGN_OR_RETURN(server->server_, RpcServer::Start(rpc, {server.get()}));
  server->server_->SetServing(true);
  return server;
}

std::string GangServer::address() const {
  if (!options_->gang.address.empty()) return options_->gang.address;
  const std::string& listened = server_->address();
  for (const char* any : {"0.0.0.0:", "[::]:"}) {
    if (listened.starts_with(any)) return fmt::format("{}:{}", HostName(), server_->port());
  }
  return listened;
}

absl::StatusOr<std::shared_ptr<SupervisedAttempt>> GangServer::Admit(const grpc::ServerContext& context,
                                                                     const v1::AttemptId& id) const {
  REGROUP_RETURN_IF_ERROR(CheckCallerIsWorker(context, options_->gang.tls));
  const std::string token = AttemptTokenOf(context);
  if (token.empty()) {
    return MakeError(absl::StatusCode::kUnauthenticated, v1::CREDENTIALS_REQUIRED, "the call carries no attempt token");
  }
  const AttemptKey key = KeyOf(id);
  std::shared_ptr<SupervisedAttempt> attempt = table_->Find(key);
  if (attempt == nullptr && table_->HoldsOtherEpochOf(key)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, v1::STALE_EPOCH,
                     fmt::format("worker {} holds another epoch of {}", options_->id, ToString(key)));
  }
  if (attempt == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND,
                     fmt::format("worker {} was not assigned attempt {}", options_->id, ToString(key)));
  }
  if (attempt->gang_token().empty() || !IsSameSecret(attempt->gang_token(), token)) {
    return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED, "the token is not that of the attempt");
  }
  return attempt;
}

absl::StatusOr<std::shared_ptr<DaemonRun>> GangServer::StartDaemon(const grpc::ServerContext& context,
                                                                   const v1::RunDaemonRequest& request) const {
  REGROUP_ASSIGN_OR_RETURN(const std::shared_ptr<SupervisedAttempt> attempt, Admit(context, request.attempt()));
  const std::filesystem::path logs = RankLogFolder(AttemptFolder(options_->work_folder, attempt->key()));
  REGROUP_ASSIGN_OR_RETURN(std::vector<std::string> arguments,
                           DaemonArguments(request.settings(), logs, options_->gang.remote_shell));
  auto run = std::make_shared<DaemonRun>(std::move(arguments));
  REGROUP_RETURN_IF_ERROR(attempt->StartDaemon(run));
  return run;
}

grpc::Status GangServer::RunDaemon(grpc::ServerContext* context, const v1::RunDaemonRequest* request,
                                   grpc::ServerWriter<v1::RunDaemonResponse>* writer) {
  const absl::StatusOr<std::shared_ptr<DaemonRun>> run = StartDaemon(*context, *request);
  if (!run.ok()) {
    LogWarning("rejected a request to start a gang's daemon",
               {{"attempt", ToString(KeyOf(request->attempt()))}, {"reason", std::string(run.status().message())}});
    return ToGrpc(run.status());
  }
  v1::RunDaemonResponse first;
  first.set_joined(true);
  writer->Write(first);
  while (true) {
    const std::optional<v1::RunDaemonResponse> event = (*run)->Next(kVisitInterval);
    const bool is_heard = event ? writer->Write(*event) : !context->IsCancelled();
    if (!is_heard) {
      (*run)->Abandon();
      return grpc::Status::CANCELLED;
    }
    if (event && event->has_exit()) return grpc::Status::OK;
  }
}

absl::StatusOr<std::shared_ptr<RankContact>> GangServer::FindContact(const grpc::ServerContext& context,
                                                                     const v1::AttemptId& id) const {
  REGROUP_ASSIGN_OR_RETURN(const std::shared_ptr<SupervisedAttempt> attempt, Admit(context, id));
  std::shared_ptr<RankContact> contact = attempt->ContactOfHelpers();
  if (contact != nullptr) return contact;
  return MakeError(absl::StatusCode::kFailedPrecondition, v1::WRONG_STATE,
                   fmt::format("worker {} does not lead the attempt", options_->id));
}

grpc::Status GangServer::RelayAttest(grpc::ServerContext* context, const v1::RelayAttestRequest* request,
                                     v1::AttestResponse*) {
  const auto contact = FindContact(*context, request->attest().attempt());
  if (!contact.ok()) return ToGrpc(contact.status());
  return ToGrpc((*contact)->Attest(request->attest(), request->member()));
}

grpc::Status GangServer::RelayReport(grpc::ServerContext* context, const v1::RelayReportRequest* request,
                                     v1::ReportResponse* response) {
  const auto contact = FindContact(*context, request->report().attempt());
  if (!contact.ok()) return ToGrpc(contact.status());
  const absl::StatusOr<bool> stop = (*contact)->Report(request->report(), request->member());
  if (!stop.ok()) return ToGrpc(stop.status());
  response->set_stop(*stop);
  return grpc::Status::OK;
}

}  // namespace regroup
