#include "services/worker/trainer_server.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>
#include <utility>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "services/rpc/status.h"

namespace regroup {
namespace {

constexpr const char* kTokenKey = "regroup-attempt-token";
constexpr std::chrono::seconds kShutdownPatience{1};

/// Metrics and progress of a rank; only rank 0 speaks for the attempt's progress.
void Collect(const v1::ReportRequest& request, LogCollector& collector) {
  for (const v1::MetricPoint& point : request.metrics()) collector.AddMetric(point);
  if (request.rank() == 0 && request.has_progress()) collector.SetProgress(request.progress());
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainerServer>> TrainerServer::Start(const std::filesystem::path& socket) {
  std::unique_ptr<TrainerServer> server(new TrainerServer(socket));
  grpc::ServerBuilder builder;
  // The file permissions are the protection: nobody else can enter the folder.
  builder.AddListeningPort("unix:" + socket.string(), grpc::InsecureServerCredentials());
  builder.RegisterService(server.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    return absl::UnavailableError(fmt::format("cannot listen on the unix socket {}", socket.string()));
  }
  if (chmod(socket.c_str(), 0600) != 0) return ErrnoStatus(errno, "set the permissions of", socket);
  return server;
}

TrainerServer::~TrainerServer() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kShutdownPatience);
}

void TrainerServer::Add(const std::string& token, std::shared_ptr<RankBoard> board,
                        std::shared_ptr<LogCollector> collector) {
  const std::lock_guard lock(mutex_);
  sessions_[token] = {std::move(board), std::move(collector)};
}

void TrainerServer::Remove(const std::string& token) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(token);
}

absl::StatusOr<TrainerServer::Session> TrainerServer::FindSession(const grpc::ServerContext& context) const {
  const auto token = context.client_metadata().find(kTokenKey);
  if (token == context.client_metadata().end()) return absl::UnauthenticatedError("the call carries no attempt token");
  const std::lock_guard lock(mutex_);
  const auto session = sessions_.find(std::string(token->second.data(), token->second.size()));
  if (session == sessions_.end()) return absl::PermissionDeniedError("no attempt of this worker has this token");
  return session->second;
}

grpc::Status TrainerServer::Attest(grpc::ServerContext* context, const v1::AttestRequest* request,
                                   v1::AttestResponse*) {
  const absl::StatusOr<Session> session = FindSession(*context);
  if (!session.ok()) return ToGrpc(session.status());
  return ToGrpc(session->board->Attest(*request, std::chrono::steady_clock::now()));
}

grpc::Status TrainerServer::Report(grpc::ServerContext* context, const v1::ReportRequest* request,
                                   v1::ReportResponse* response) {
  const absl::StatusOr<Session> session = FindSession(*context);
  if (!session.ok()) return ToGrpc(session.status());
  const absl::StatusOr<bool> stop = session->board->Report(*request, std::chrono::steady_clock::now());
  if (!stop.ok()) return ToGrpc(stop.status());
  Collect(*request, *session->collector);
  response->set_stop(*stop);
  return grpc::Status::OK;
}

}  // namespace regroup
