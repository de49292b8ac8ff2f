#include "coordinator/api/cluster_service.h"

#include <fmt/format.h>

#include "coordinator/api/requests.h"
#include "services/job_file/known_words.h"

namespace regroup {
namespace {

constexpr size_t kWorkersPerPage = 100;

absl::StatusOr<v1::Worker> DescribeWorker(const std::string& id, const Turn& turn) {
  const v1::Worker* worker = turn.cluster.workers().Find(id);
  if (worker != nullptr) return turn.cluster.Describe(*worker, turn.now);
  return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND, fmt::format("there is no worker \"{}\"", id));
}

void FinishWithWorker(grpc::ServerUnaryReactor* reactor, const absl::StatusOr<v1::Worker>& worker,
                      v1::Worker* response) {
  if (worker.ok()) *response = *worker;
  reactor->Finish(ToGrpc(worker.status()));
}

/// Workers in the order of their names, from `position`, and a token where there are more.
void FillPage(const Turn& turn, size_t position, size_t limit, v1::ListWorkersResponse* response) {
  size_t index = 0;
  for (const auto& [id, worker] : turn.cluster.workers()) {
    if (index++ < position) continue;
    if (index > position + limit) return response->set_next_page_token(PageToken(static_cast<int64_t>(index - 1)));
    *response->add_workers() = turn.cluster.Describe(worker, turn.now);
  }
}

template <typename Words>
void AddWords(const Words& words, google::protobuf::RepeatedPtrField<std::string>* list) {
  for (const std::string_view word : words) list->Add(std::string(word));
}

grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* ClusterService::ListWorkers(grpc::CallbackServerContext* context,
                                                      const v1::ListWorkersRequest* request,
                                                      v1::ListWorkersResponse* response) {
  const absl::StatusOr<size_t> limit = PageSize(request->page_size(), kWorkersPerPage);
  if (!limit.ok()) return FinishWith(context, limit.status());
  const absl::StatusOr<int64_t> position = PositionOf(request->page_token());
  if (!position.ok()) return FinishWith(context, position.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Read([=, limit = *limit, position = static_cast<size_t>(*position)](const Turn& turn) {
    FillPage(turn, position, limit, response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::GetWorker(grpc::CallbackServerContext* context,
                                                    const v1::GetWorkerRequest* request, v1::Worker* response) {
  const absl::StatusOr<std::string> id = IdFromName("workers", request->name());
  if (!id.ok()) return FinishWith(context, id.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Read([=, id = *id](const Turn& turn) { FinishWithWorker(reactor, DescribeWorker(id, turn), response); });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::DrainWorker(grpc::CallbackServerContext* context,
                                                      const v1::DrainWorkerRequest* request, v1::Worker* response) {
  return SetDraining(context, request->name(), true, response);
}

grpc::ServerUnaryReactor* ClusterService::UndrainWorker(grpc::CallbackServerContext* context,
                                                        const v1::UndrainWorkerRequest* request, v1::Worker* response) {
  return SetDraining(context, request->name(), false, response);
}

grpc::ServerUnaryReactor* ClusterService::SetDraining(grpc::CallbackServerContext* context, const std::string& name,
                                                      bool draining, v1::Worker* response) {
  const absl::StatusOr<std::string> id = IdFromName("workers", name);
  if (!id.ok()) return FinishWith(context, id.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change([draining, id = *id](Turn& turn) { return turn.cluster.SetDraining(id, draining); },
                [=, id = *id](const absl::Status& status, const Turn& turn) {
                  if (!status.ok()) return reactor->Finish(ToGrpc(status));
                  FinishWithWorker(reactor, DescribeWorker(id, turn), response);
                });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::GetServerInfo(grpc::CallbackServerContext* context,
                                                        const v1::GetServerInfoRequest* request,
                                                        v1::ServerInfo* response) {
  response->set_version(REGROUP_VERSION);
  *response->mutable_start_time() = ToProto(start_time_);
  AddWords(kAlignmentMethods, response->mutable_alignment_methods());
  AddWords(kSimilarities, response->mutable_similarities());
  return FinishWith(context, absl::OkStatus());
}

}  // namespace regroup
