// A running coordinator: store, core thread, services and listeners, put together and taken apart in the right order.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "coordinator/api/cluster_service.h"
#include "coordinator/api/job_service.h"
#include "coordinator/api/worker_service.h"
#include "coordinator/core/core.h"
#include "coordinator/core/errands.h"
#include "coordinator/core/leader_election.h"
#include "coordinator/store/postgres_job_store.h"
#include "services/common/rpc/server.h"

namespace regroup {

struct CoordinatorOptions {
  std::string listen = "127.0.0.1:7447";
  /// Empty serves no metrics. Metrics are plain HTTP without a password: they show names of jobs and workers, no data.
  std::string metrics_listen = "127.0.0.1:9447";
  std::filesystem::path state_folder;
  /// File with the URL of a PostgreSQL database for the jobs, which several coordinators may share; empty: they are in
  /// a file in the state folder.
  std::string store_url_file;
  /// What callers of a coordinator that does not lead are told to call, and how soon another one takes over. Only with
  /// `store_url_file`. The address is `listen` by default.
  std::string advertised_address;
  std::chrono::milliseconds leader_lease{4000};
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
  /// Recovers what the store has and serves. The error names the address, the file or the flag. Where coordinators
  /// share the store, calls are refused (NOT_LEADER) and health answers NOT_SERVING until this one leads.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options);

  /// Starts with a store of the caller's, for tests.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options,
                                                            std::unique_ptr<JobStore> store);
  ~Coordinator();

  /// Ends waits and streams, lets running calls end, and closes the store. Workers go on with their tasks.
  void Stop(std::chrono::milliseconds grace);

  /// OK until this coordinator cannot go on, because another one has taken over or what is stored cannot be used.
  absl::Status health() const;

  int port() const { return server_->port(); }
  const std::string& address() const { return server_->address(); }
  /// 0 where no metrics are served.
  int metrics_port() const { return metrics_port_; }
  CoordinatorMetrics& metrics() { return metrics_; }

 private:
  Coordinator(const CoordinatorOptions& options, std::unique_ptr<JobStore> store);

  absl::Status CheckIsClosed(const CoordinatorOptions& options) const;
  absl::Status Serve(const CoordinatorOptions& options);
  absl::Status ServeMetrics(const std::string& address);
  absl::Status Listen(const CoordinatorOptions& options);
  /// Loads what the store has and starts to decide.
  absl::Status Lead();
  absl::Status StandForElection(const CoordinatorOptions& options);
  void FollowElection();
  /// The first failure is what health tells; OK changes nothing.
  void Fail(const absl::Status& why);
  absl::Status CheckLeads() const;
  /// Tells callers and Prometheus whether this coordinator decides.
  void SetServing(bool serves);

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

  /// The store, where coordinators share it, and who of them leads.
  PostgresJobStore* shared_store_ = nullptr;
  std::unique_ptr<LeaderElection> election_;
  std::atomic<bool> has_recovered_ = false;
  std::atomic<bool> follows_ = false;
  mutable std::mutex mutex_;
  absl::Status health_;
  std::thread follower_;
};

}  // namespace regroup
