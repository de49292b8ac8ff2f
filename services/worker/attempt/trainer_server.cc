#include "services/worker/attempt/trainer_server.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <sys/stat.h>

#include <chrono>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/worker_channel.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kShutdownPatience{1};
/// Shorter than the 10 s without an answer after which a rank gives up its worker; it also does so when the lease ends.
constexpr std::chrono::seconds kRelayPatience{5};

SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

absl::Status LocalContact::Attest(const v1::AttestRequest& request, int member) {
  return board_->Attest(request, Now(), member);
}

absl::StatusOr<bool> LocalContact::Report(const v1::ReportRequest& request, int member) {
  REGROUP_ASSIGN_OR_RETURN(const bool stop, board_->Report(request, Now(), member));
  for (const v1::MetricPoint& point : request.metrics()) collector_->AddMetric(point);
  // The attempt's progress is the one that rank 0 reports.
  if (request.rank() == 0 && request.has_progress()) collector_->SetProgress(request.progress());
  return stop;
}

absl::StatusOr<std::shared_ptr<RankContact>> RelayContact::Open(const v1::Gang& gang, const WorkerOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(auto channel, OpenWorkerChannel(gang.members(0).address(), options.gang.tls));
  return std::make_shared<RelayContact>(std::move(channel), gang);
}

RelayContact::RelayContact(std::shared_ptr<grpc::Channel> channel, const v1::Gang& gang)
    : stub_(v1::GangService::NewStub(channel)), token_(gang.token()), member_(gang.member()) {}

void RelayContact::Prepare(grpc::ClientContext& context) const {
  context.AddMetadata(kAttemptTokenKey, token_);
  context.set_deadline(std::chrono::system_clock::now() + kRelayPatience);
}

absl::Status RelayContact::Attest(const v1::AttestRequest& request, int) {
  v1::RelayAttestRequest relayed;
  relayed.set_member(member_);
  *relayed.mutable_attest() = request;
  grpc::ClientContext context;
  Prepare(context);
  v1::AttestResponse response;
  return FromGrpc(stub_->RelayAttest(&context, relayed, &response));
}

absl::StatusOr<bool> RelayContact::Report(const v1::ReportRequest& request, int) {
  v1::RelayReportRequest relayed;
  relayed.set_member(member_);
  *relayed.mutable_report() = request;
  grpc::ClientContext context;
  Prepare(context);
  v1::ReportResponse response;
  REGROUP_RETURN_IF_ERROR(FromGrpc(stub_->RelayReport(&context, relayed, &response)));
  return response.stop();
}

absl::StatusOr<std::unique_ptr<TrainerServer>> TrainerServer::Start(const std::filesystem::path& socket,
                                                                    const LeaseEnd* lease) {
  std::unique_ptr<TrainerServer> server(new TrainerServer(socket, lease));
  grpc::ServerBuilder builder;
  // File permissions protect the socket: nobody else can enter the folder.
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

void TrainerServer::Add(const std::string& token, std::shared_ptr<RankContact> contact) {
  const std::lock_guard lock(mutex_);
  contacts_[token] = std::move(contact);
}

void TrainerServer::Remove(const std::string& token) {
  const std::lock_guard lock(mutex_);
  contacts_.erase(token);
}

absl::StatusOr<std::shared_ptr<RankContact>> TrainerServer::FindContact(const grpc::ServerContext& context) const {
  const std::string token = AttemptTokenOf(context);
  if (token.empty()) return absl::UnauthenticatedError("the call carries no attempt token");
  const std::lock_guard lock(mutex_);
  const auto contact = contacts_.find(token);
  if (contact == contacts_.end()) return absl::PermissionDeniedError("no attempt of this worker has this token");
  return contact->second;
}

grpc::Status TrainerServer::Attest(grpc::ServerContext* context, const v1::AttestRequest* request,
                                   v1::AttestResponse*) {
  const auto contact = FindContact(*context);
  if (!contact.ok()) return ToGrpc(contact.status());
  return ToGrpc((*contact)->Attest(*request, 0));
}

grpc::Status TrainerServer::Report(grpc::ServerContext* context, const v1::ReportRequest* request,
                                   v1::ReportResponse* response) {
  const auto contact = FindContact(*context);
  if (!contact.ok()) return ToGrpc(contact.status());
  const absl::StatusOr<bool> stop = (*contact)->Report(*request, 0);
  if (!stop.ok()) return ToGrpc(stop.status());
  response->set_stop(*stop);
  response->set_pause((*contact)->PausesTraining());
  if (const auto remaining = lease_->Remaining(std::chrono::steady_clock::now())) {
    *response->mutable_lease() = google::protobuf::util::TimeUtil::MillisecondsToDuration(remaining->count());
  }
  return grpc::Status::OK;
}

}  // namespace regroup
