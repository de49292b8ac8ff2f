// ClusterService: the API for people who run the cluster.
#pragma once

#include "coordinator/api/core.h"
#include "regroup/v1/cluster_service.grpc.pb.h"

namespace regroup {

class ClusterService : public v1::ClusterService::CallbackService {
 public:
  /// The core must outlive the service.
  ClusterService(Core* core, Time start_time) : core_(core), start_time_(start_time) {}

  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* GetWorker(grpc::CallbackServerContext* context, const v1::GetWorkerRequest* request,
                                      v1::Worker* response) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context, const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) override;
  grpc::ServerUnaryReactor* UndrainWorker(grpc::CallbackServerContext* context, const v1::UndrainWorkerRequest* request,
                                          v1::Worker* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;

 private:
  grpc::ServerUnaryReactor* SetDraining(grpc::CallbackServerContext* context, const std::string& name, bool draining,
                                        v1::Worker* response);

  Core* const core_;
  const Time start_time_;
};

}  // namespace regroup
