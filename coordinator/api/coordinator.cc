#include "coordinator/api/coordinator.h"

#include <fmt/format.h>

#include <future>

#include "coordinator/api/job_files.h"
#include "coordinator/api/served_calls.h"
#include "coordinator/store/sqlite_job_store.h"
#include "services/common/base/logging.h"
#include "services/common/base/paths.h"
#include "services/common/base/random_bytes.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kGraceOnDestruction(500);
constexpr std::chrono::milliseconds kElectionPause(50);
constexpr size_t kGangSecretBytes = 32;

/// Workers of a gang keep the tokens made from the secret, so a restarted coordinator may use a new one.
absl::StatusOr<CoordinatorOptions> WithGangSecret(CoordinatorOptions options) {
  REGROUP_ASSIGN_OR_RETURN(options.cluster.gang_secret, RandomBytes(kGangSecretBytes));
  return options;
}

/// Workers run in folders of their own.
std::vector<std::filesystem::path> AllAbsolute(std::vector<std::filesystem::path> folders) {
  for (std::filesystem::path& folder : folders) folder = Absolute(folder);
  return folders;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions& options) {
  if (!options.store_url_file.empty()) {
    REGROUP_ASSIGN_OR_RETURN(const std::string url, ReadStoreUrl(options.store_url_file));
    REGROUP_ASSIGN_OR_RETURN(auto shared, PostgresJobStore::Open(url));
    PostgresJobStore* const store = shared.get();
    REGROUP_ASSIGN_OR_RETURN(const CoordinatorOptions secured, WithGangSecret(options));
    std::unique_ptr<Coordinator> coordinator(new Coordinator(secured, std::move(shared)));
    coordinator->shared_store_ = store;
    REGROUP_RETURN_IF_ERROR(coordinator->Serve(options));
    return coordinator;
  }
  REGROUP_ASSIGN_OR_RETURN(auto store, SqliteJobStore::Open({.path = options.state_folder / "regroup.db"}));
  return Start(options, std::move(store));
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions& options,
                                                                std::unique_ptr<JobStore> store) {
  REGROUP_ASSIGN_OR_RETURN(const CoordinatorOptions secured, WithGangSecret(options));
  std::unique_ptr<Coordinator> coordinator(new Coordinator(secured, std::move(store)));
  REGROUP_RETURN_IF_ERROR(coordinator->Serve(options));
  return coordinator;
}

Coordinator::Coordinator(const CoordinatorOptions& options, std::unique_ptr<JobStore> store)
    : store_(std::move(store)),
      pump_(options.streams),
      access_({.token_file = options.token_file,
               .needs_tokens = options.needs_tokens,
               .jwt = options.jwt,
               .on_readable = [this](bool readable) { metrics_.SetTokensReadable(readable); },
               .on_refused = [this](const Refusal& refusal) { WriteDown(refusal); }}),
      core_(options.cluster, store_.get(), &feeds_, &metrics_, SystemClocks()),
      job_service_(&core_, store_.get(), &feeds_, &pump_, &access_, options.allowed_paths, options.plans),
      worker_service_(&core_, &metrics_, &access_, AllAbsolute(options.allowed_paths.data_roots),
                      {.log_bytes = options.max_log_bytes_per_job, .points = options.max_points_per_job}),
      cluster_service_(
          &core_, store_.get(), &access_, &errands_,
          {.start_time = SteadyWallClock()(),
           .backup_folder = options.backup_folder.empty() ? options.state_folder / "backups" : options.backup_folder}),
      gate_([this](const grpc::ServerContextBase& context, std::string_view method) {
        return access_.Admit(context, method).status();
      }),
      quota_watch_(options.quota_file, {.changed = [this](const Quotas& quotas) { SetQuotas(quotas); },
                                        .readable = [this](bool readable) { metrics_.SetQuotasReadable(readable); }}) {
  AddCalls(&job_service_, &cluster_service_, &worker_service_, &gate_);
}

/// Certificates decide which machines may connect, tokens what a caller may do: a network address needs both.
absl::Status Coordinator::CheckIsClosed(const CoordinatorOptions& options) const {
  if (IsLocalAddress(options.listen) || !access_.IsOpen()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} can be reached from other machines and so needs tokens: make them with `regroup-coordinator init` "
      "or `regroup-coordinator token add`, and name their file with --tokens, or verify JWTs with --jwt-keys",
      options.listen));
}

absl::Status Coordinator::Serve(const CoordinatorOptions& options) {
  REGROUP_RETURN_IF_ERROR(access_.Load());
  REGROUP_RETURN_IF_ERROR(CheckIsClosed(options));
  REGROUP_RETURN_IF_ERROR(quota_watch_.Start());
  REGROUP_RETURN_IF_ERROR(PrepareWebhooks(options.webhook_file));
  if (!access_.IsOpen() && (options.allowed_paths.data_roots.empty() || options.allowed_paths.output_roots.empty())) {
    LogWarning("jobs may use any path that the workers can reach; restrict them with --data-root and --output-root");
  }
  REGROUP_RETURN_IF_ERROR(ServeMetrics(options.metrics_listen));
  core_.Listen(
      {.deliveries_of =
           [this](const v1::Job& job) { return DeliveriesOf(webhooks_, job, std::chrono::system_clock::now()); },
       .job_ended = [this](const v1::Job& job) { errands_.Run([job] { RemoveStagedResults(job); }); },
       .job_deleted = [this, folder = options.work_folder](
                          const std::string& job) { errands_.Run([folder, job] { RemoveJobFiles(folder, job); }); },
       .store_lost = [this](const absl::Status& why) { Fail(why); }});
  core_.KeepFinishedJobs(options.keep_finished);
  if (shared_store_ != nullptr) return StandForElection(options);
  REGROUP_RETURN_IF_ERROR(core_.Recover());
  REGROUP_RETURN_IF_ERROR(Listen(options));
  StartDeciding();
  SetServing(true);
  return absl::OkStatus();
}

absl::Status Coordinator::ServeMetrics(const std::string& address) {
  if (address.empty()) return absl::OkStatus();
  if (!IsLocalAddress(address)) {
    LogWarning("metrics can be read from other machines without a password", {{"address", address}});
  }
  REGROUP_ASSIGN_OR_RETURN(metrics_port_, metrics_.metrics().Serve(address));
  return absl::OkStatus();
}

absl::Status Coordinator::Listen(const CoordinatorOptions& options) {
  certificates_.emplace(options.tls,
                        [this](const absl::Status& status, std::optional<CertificateWatch::Expiry> expiry) {
                          metrics_.SetCertificates(status.ok(), expiry);
                        });
  RpcServerOptions server;
  server.address = options.listen;
  server.tls = options.tls;
  server.gate = &gate_;
  server.max_process_bytes = options.max_process_bytes;
  server.stopped_accepting = [this](const std::string& why) { Fail(absl::UnavailableError(why)); };
  server.observer = [this](std::string_view method, grpc::StatusCode code, double seconds) {
    // Whoever connects may make up names, and every name that is counted stays in memory.
    if (gate_.Serves(method)) metrics_.ObserveCall(method, code, seconds);
  };
  REGROUP_ASSIGN_OR_RETURN(server_, RpcServer::Start(server, {}));
  return absl::OkStatus();
}

// Leader election among coordinators that share a store.

absl::Status Coordinator::StandForElection(const CoordinatorOptions& options) {
  access_.OpenOnlyWhile([this] { return CheckLeads(); });
  REGROUP_RETURN_IF_ERROR(Listen(options));
  const std::string& address = options.advertised_address.empty() ? server_->address() : options.advertised_address;
  REGROUP_ASSIGN_OR_RETURN(const std::string url, ReadStoreUrl(options.store_url_file));
  REGROUP_ASSIGN_OR_RETURN(election_, LeaderElection::Start({url, address, options.leader_lease}));
  follows_ = true;
  follower_ = std::thread(&Coordinator::FollowElection, this);
  return absl::OkStatus();
}

/// Runs on its own thread, because the election's thread must keep renewing the lease while a large store is read.
void Coordinator::FollowElection() {
  bool serves = false;
  while (follows_ && health().ok()) {
    if (!has_recovered_ && election_->IsLeading()) Fail(Lead());
    if (election_->IsOver()) Fail(NotLeader(election_->leader()));
    if (const bool leads = CheckLeads().ok(); leads != serves) SetServing(serves = leads);
    std::this_thread::sleep_for(kElectionPause);
  }
  SetServing(false);
}

absl::Status Coordinator::Lead() {
  REGROUP_RETURN_IF_ERROR(shared_store_->Lead(election_->fencing()));
  REGROUP_RETURN_IF_ERROR(core_.Recover());
  StartDeciding();
  has_recovered_ = true;
  return absl::OkStatus();
}

absl::Status Coordinator::CheckLeads() const {
  // The server listens before the election starts and after it ends.
  if (!follows_) return NotLeader("");
  if (has_recovered_ && health().ok() && election_->IsLeading()) return absl::OkStatus();
  return NotLeader(election_->leader());
}

void Coordinator::WriteDown(const Refusal& refusal) {
  core_.Change(
      [refusal](Turn& turn) {
        AuditRefusal(refusal, &turn);
        return absl::OkStatus();
      },
      [](const absl::Status&, const Turn&) {});
}

void Coordinator::SetQuotas(const Quotas& quotas) {
  core_.Note(
      [quotas](Turn& turn) {
        turn.cluster.SetQuotas(quotas);
        return absl::OkStatus();
      },
      [](const absl::Status&, const Turn&) {});
}

absl::Status Coordinator::PrepareWebhooks(const std::filesystem::path& file) {
  if (file.empty()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(webhooks_, ReadWebhooks(file));
  return absl::OkStatus();
}

void Coordinator::StoreDeliveries(std::vector<Delivery> again, std::vector<std::string> finished) {
  std::promise<void> stored;
  core_.Change(
      [again = std::move(again), finished = std::move(finished)](Turn& turn) {
        std::vector<Delivery>& deliveries = turn.changes.deliveries;
        deliveries.insert(deliveries.end(), again.begin(), again.end());
        std::vector<std::string>& done = turn.changes.finished_deliveries;
        done.insert(done.end(), finished.begin(), finished.end());
        return absl::OkStatus();
      },
      // An event is sent once more if its delivery could not be stored.
      [&stored](const absl::Status&, const Turn&) { stored.set_value(); });
  stored.get_future().wait();
}

void Coordinator::StartDeciding() {
  core_.Start();
  for (const Webhook& hook : webhooks_) metrics_.AddWebhook(hook.name);
  webhook_sender_.emplace(
      store_.get(), webhooks_,
      WebhookSender::Listener{
          .store = [this](auto again, auto finished) { StoreDeliveries(std::move(again), std::move(finished)); },
          .count = [this](const std::string& hook, const char* outcome) { metrics_.CountDelivery(hook, outcome); }});
  webhook_sender_->Start();
}

void Coordinator::SetServing(bool serves) {
  server_->SetServing(serves);
  metrics_.SetLeader(serves);
}

void Coordinator::Fail(const absl::Status& why) {
  const std::lock_guard lock(mutex_);
  if (health_.ok()) health_ = why;
}

absl::Status Coordinator::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

Coordinator::~Coordinator() { Stop(kGraceOnDestruction); }

void Coordinator::Stop(std::chrono::milliseconds grace) {
  if (server_ == nullptr || is_stopped_) return;
  is_stopped_ = true;
  follows_ = false;
  if (follower_.joinable()) follower_.join();
  SetServing(false);
  // Otherwise waiting calls and streams would use up the grace period.
  core_.EndWaits();
  job_service_.EndPlans();
  pump_.EndStreams();
  server_->Stop(grace);
  access_.Stop();
  quota_watch_.Stop();
  if (webhook_sender_) webhook_sender_->Stop();
  core_.Stop();
  // Only now, so that the next leader finds everything that was decided here.
  if (election_ != nullptr) election_->Stop();
  errands_.Stop();
  pump_.Stop();
}

}  // namespace regroup
