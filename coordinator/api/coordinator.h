// A running coordinator: store, core thread, services and listeners, put together and taken apart in the right order.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/api/cluster_service.h"
#include "coordinator/api/core.h"
#include "coordinator/api/errands.h"
#include "coordinator/api/job_service.h"
#include "coordinator/api/worker_service.h"
#include "services/rpc/server.h"

namespace regroup {

struct CoordinatorOptions {
  std::string listen = "127.0.0.1:7447";
  /// Empty serves no metrics. Metrics are plain HTTP without a password: they show names of jobs and workers, no data.
  std::string metrics_listen = "127.0.0.1:9447";
  std::filesystem::path state_folder;
  /// Where workers keep the jobs' files; empty if the coordinator cannot see it, and then files of deleted jobs stay.
  std::filesystem::path work_folder;
  /// Where BackupStore writes; default: backups in the state folder.
  std::filesystem::path backup_folder;
  /// How long finished jobs are kept; 0 keeps them for ever.
  Duration keep_finished{0};
  TlsFiles tls;
  /// See Access. Where other machines can reach `listen`, it must hold a token.
  std::filesystem::path token_file;
  AllowedPaths allowed_paths;
  ClusterOptions cluster;
};

class Coordinator {
 public:
  /// Recovers what the store has and serves. The error names the address, the file or the flag.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options);

  /// Starts with a store of the caller's, for tests.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options,
                                                            std::unique_ptr<JobStore> store);
  ~Coordinator();

  /// Ends waits and streams, lets running calls end, and closes the store. Workers go on with their tasks.
  void Stop(std::chrono::milliseconds grace);

  int port() const { return server_->port(); }
  const std::string& address() const { return server_->address(); }
  /// 0 where no metrics are served.
  int metrics_port() const { return metrics_port_; }
  CoordinatorMetrics& metrics() { return metrics_; }

 private:
  Coordinator(const CoordinatorOptions& options, std::unique_ptr<JobStore> store);

  absl::Status CheckIsClosed(const CoordinatorOptions& options) const;
  absl::Status Serve(const CoordinatorOptions& options);

  CoordinatorMetrics metrics_;
  int metrics_port_ = 0;
  std::unique_ptr<JobStore> store_;
  JobFeeds feeds_;
  StreamPump pump_;
  Access access_;
  Errands errands_;
  Core core_;
  JobService job_service_;
  WorkerService worker_service_;
  ClusterService cluster_service_;
  std::unique_ptr<RpcServer> server_;
  bool is_stopped_ = false;
};

}  // namespace regroup
