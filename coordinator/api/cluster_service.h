// ClusterService: the API for people who run the cluster.
#pragma once

#include "coordinator/api/admission.h"
#include "coordinator/core/core.h"
#include "coordinator/core/errands.h"
#include "regroup/v1/cluster_service.grpc.pb.h"

namespace regroup {

class ClusterService : public v1::ClusterService::CallbackService {
 public:
  struct Options {
    Time start_time;
    std::filesystem::path backup_folder;
  };

  /// All four objects must outlive the service; stop the errands after the server.
  ClusterService(Core* core, JobStore* store, Access* access, Errands* errands, Options options)
      : core_(core), store_(store), access_(access), errands_(errands), options_(std::move(options)) {}

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
  grpc::ServerUnaryReactor* ListAuditEntries(grpc::CallbackServerContext* context,
                                             const v1::ListAuditEntriesRequest* request,
                                             v1::ListAuditEntriesResponse* response) override;
  grpc::ServerUnaryReactor* BackupStore(grpc::CallbackServerContext* context, const v1::BackupStoreRequest* request,
                                        v1::BackupStoreResponse* response) override;

 private:
  grpc::ServerUnaryReactor* SetDraining(grpc::CallbackServerContext* context, std::string_view method,
                                        const std::string& name, bool draining, v1::Worker* response);

  /// Runs on the errands' thread.
  void BackUp(const std::filesystem::path& file, grpc::ServerUnaryReactor* reactor, v1::BackupStoreResponse* response);

  Core* const core_;
  JobStore* const store_;
  Access* const access_;
  Errands* const errands_;
  const Options options_;
};

}  // namespace regroup
