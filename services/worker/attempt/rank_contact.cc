#include "services/worker/attempt/rank_contact.h"

#include <chrono>
#include <utility>

#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/worker_channel.h"

namespace regroup {
namespace {

/// A rank gives its worker up after 10 s without an answer, or when the lease ends.
constexpr std::chrono::seconds kRelayPatience{5};

SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

absl::Status LocalContact::Attest(const v1::AttestRequest& request, int member) {
  return board_->Attest(request, Now(), member);
}

absl::StatusOr<bool> LocalContact::Report(const v1::ReportRequest& request, int) {
  REGROUP_ASSIGN_OR_RETURN(const bool stop, board_->Report(request, Now()));
  for (const v1::MetricPoint& point : request.metrics()) collector_->AddMetric(point);
  // Only rank 0 speaks for the attempt's progress.
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

}  // namespace regroup
