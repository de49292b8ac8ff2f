// A running coordinator: store, core thread, services and listeners, started and stopped in the right order.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "coordinator/api/cluster_service.h"
#include "coordinator/api/job_service.h"
#include "coordinator/api/quota_watch.h"
#include "coordinator/api/webhook_sender.h"
#include "coordinator/api/worker_service.h"
#include "coordinator/core/core.h"
#include "coordinator/core/errands.h"
#include "coordinator/core/leader_election.h"
#include "coordinator/store/postgres_job_store.h"
#include "services/common/rpc/certificate_watch.h"
#include "services/common/rpc/server.h"

namespace regroup {

struct CoordinatorOptions {
  std::string listen = "127.0.0.1:7447";
  /// Address of the metrics page; empty disables it. The page is plain HTTP without a password; it shows names of jobs
  /// and workers, no data.
  std::string metrics_listen = "127.0.0.1:9447";
  std::filesystem::path state_folder;
  /// File with the URL of a PostgreSQL database that stores the jobs and that several coordinators may share. Empty: a
  /// file in the state folder stores them.
  std::string store_url_file;
  /// Address that standbys tell callers to use while this coordinator leads (default: `listen`), and the time of
  /// silence after which another one takes over. Only with `store_url_file`.
  std::string advertised_address;
  std::chrono::milliseconds leader_lease{4000};
  /// Folder in which workers keep the jobs' files. Empty if the coordinator cannot see it; files of deleted jobs then
  /// stay.
  std::filesystem::path work_folder;
  /// Folder that BackupStore writes to; default: `backups` in the state folder.
  std::filesystem::path backup_folder;
  /// Time for which finished jobs are kept; 0 keeps them forever.
  Duration keep_finished{0};
  TlsFiles tls;
  /// Token file, see Access. It must hold a token if other machines can reach `listen`.
  std::filesystem::path token_file;
  /// True if the file must exist: an administrator named it. Otherwise a coordinator without one needs no tokens.
  bool needs_tokens = false;
  /// Keys, roles and rules of callers with JSON Web Tokens, in addition to those of the token file.
  JwtOptions jwt;
  /// File of the owners' quotas, see QuotaWatch; empty for none.
  std::filesystem::path quota_file;
  /// File of the webhooks, see ReadWebhooks; empty for none.
  std::filesystem::path webhook_file;
  AllowedPaths allowed_paths;
  /// Memory above which connections are ended, in bytes; 0: see MemoryGuard.
  size_t max_process_bytes = 0;
  StreamLimits streams;
  PlanLimits plans;
  /// Most bytes of log that are stored of one job.
  int64_t max_log_bytes_per_job = int64_t{64} << 20;
  /// Most metric points that are stored of one job.
  int64_t max_points_per_job = 1'000'000;
  ClusterOptions cluster;
};

class Coordinator {
 public:
  /// Recovers the stored state and serves. Errors name the address, the file or the flag. If coordinators share the
  /// store, calls are rejected (NOT_LEADER) and health answers NOT_SERVING until this one leads.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options);

  /// Starts with the given store; for tests.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options,
                                                            std::unique_ptr<JobStore> store);
  ~Coordinator();

  /// Ends waiting calls and streams, gives running calls `grace` to finish, and closes the store. Workers continue
  /// their tasks.
  void Stop(std::chrono::milliseconds grace);

  /// Returns OK until this coordinator must stop because another one has taken over or the stored state cannot be used.
  absl::Status health() const;

  int port() const { return server_->port(); }
  const std::string& address() const { return server_->address(); }
  /// Returns 0 if no metrics are served.
  int metrics_port() const { return metrics_port_; }
  CoordinatorMetrics& metrics() { return metrics_; }

 private:
  Coordinator(const CoordinatorOptions& options, std::unique_ptr<JobStore> store);

  absl::Status CheckIsClosed(const CoordinatorOptions& options) const;
  absl::Status Serve(const CoordinatorOptions& options);
  absl::Status ServeMetrics(const std::string& address);
  absl::Status Listen(const CoordinatorOptions& options);
  /// Loads the stored state and starts the core thread.
  absl::Status Lead();
  absl::Status StandForElection(const CoordinatorOptions& options);
  void FollowElection();
  /// Stores the first failure for health(); OK changes nothing.
  void Fail(const absl::Status& why);
  absl::Status CheckLeads() const;
  void WriteDown(const Refusal& refusal);
  void SetQuotas(const Quotas& quotas);
  /// Reads the webhooks' file and prepares the sender.
  absl::Status PrepareWebhooks(const std::filesystem::path& file);
  /// Stores what became of deliveries, and waits for the commit.
  void StoreDeliveries(std::vector<Delivery> again, std::vector<std::string> finished);
  /// Starts what only the coordinator that decides may do, after the core.
  void StartDeciding();
  /// Tells health checks and Prometheus whether this coordinator serves.
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
  CallGate gate_;
  std::unique_ptr<RpcServer> server_;
  QuotaWatch quota_watch_;
  std::vector<Webhook> webhooks_;
  std::optional<WebhookSender> webhook_sender_;
  std::optional<CertificateWatch> certificates_;
  bool is_stopped_ = false;

  /// The store and the election if coordinators share the store; otherwise null.
  PostgresJobStore* shared_store_ = nullptr;
  std::unique_ptr<LeaderElection> election_;
  std::atomic<bool> has_recovered_ = false;
  std::atomic<bool> follows_ = false;
  mutable std::mutex mutex_;
  absl::Status health_;
  std::thread follower_;
};

}  // namespace regroup
