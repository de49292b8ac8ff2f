#include "services/worker/gang_server.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "services/common/base/error.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/certificates.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/worker_channel.h"
#include "services/worker/gang/gang_protocol.h"
#include "services/worker/machine.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{100};
/// A daemon's call lasts as long as its task, so its connection must not be closed for its age; the longest age that
/// gRPC can count in milliseconds is 24 days.
constexpr std::chrono::hours kConnectionAge{24 * 24};

/// The settings of a daemon, or what a rank has done since its last report.
constexpr RequestLimits kLimits = {.bytes = 1 << 20, .entries = 1 << 13};

/// Compares digests, so that the time it takes does not reveal how much of a guess is right.
bool IsSameSecret(const std::string& a, const std::string& b) { return Sha256Of(a) == Sha256Of(b); }

/// Other workers believe only a worker's certificate. Without this check a wrong one would show when a gang starts.
absl::Status CheckIsOfWorker(const TlsFiles& tls) {
  if (!tls.IsSet()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const std::string certificate, ReadFile(tls.certificate));
  if (MayServe(certificate) && HasName(certificate, kWorkerName)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "--tls-certificate {} is not a worker's: with --gang-listen it must carry the name {} and serve (extended key "
      "usage serverAuth), as worker.pem of `regroup-coordinator init` does",
      tls.certificate, kWorkerName));
}

grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

/// The call that lasts as long as a daemon. Its thread waits for the daemon's events and writes them; the daemon ends
/// when the caller is gone.
class DaemonCall : public grpc::ServerWriteReactor<v1::RunDaemonResponse> {
 public:
  explicit DaemonCall(std::shared_ptr<DaemonRun> run) : run_(std::move(run)), thread_(&DaemonCall::Run, this) {}

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    is_writing_ = false;
    is_gone_ = is_gone_ || !ok;
    changed_.notify_all();
  }
  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
    changed_.notify_all();
  }
  void OnDone() override {
    thread_.join();
    delete this;
  }

 private:
  void Run() {
    v1::RunDaemonResponse first;
    first.set_joined(true);
    bool is_heard = Write(std::move(first));
    while (is_heard) {
      std::optional<v1::RunDaemonResponse> event = run_->Next(kVisitInterval);
      const bool is_last = event && event->has_exit();
      is_heard = event ? Write(*std::move(event)) : IsHeard();
      if (is_heard && is_last) return Finish(grpc::Status::OK);
    }
    run_->Abandon();
    Finish(grpc::Status::CANCELLED);
  }

  bool IsHeard() {
    const std::lock_guard lock(mutex_);
    return !is_gone_;
  }

  /// Returns false if the caller is gone.
  bool Write(v1::RunDaemonResponse event) {
    {
      const std::lock_guard lock(mutex_);
      if (is_gone_) return false;
      is_writing_ = true;
    }
    event_ = std::move(event);
    StartWrite(&event_);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !is_writing_; });
    return !is_gone_;
  }

  const std::shared_ptr<DaemonRun> run_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_writing_ = false;
  bool is_gone_ = false;
  /// Owned by the thread.
  v1::RunDaemonResponse event_;
  std::thread thread_;
};

/// A call for a daemon that is refused.
class RefusedDaemonCall : public grpc::ServerWriteReactor<v1::RunDaemonResponse> {
 public:
  explicit RefusedDaemonCall(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

GangServer::GangServer(const WorkerOptions* options, AttemptTable* table)
    : options_(options),
      table_(table),
      gate_([this](const grpc::ServerContextBase& context, std::string_view) { return AdmitWorker(context); }) {
  gate_.Add("GangService/RunDaemon", this, &GangServer::RunDaemon, kLimits);
  gate_.Add("GangService/RelayAttest", this, &GangServer::RelayAttest, kLimits);
  gate_.Add("GangService/RelayReport", this, &GangServer::RelayReport, kLimits);
}

absl::StatusOr<std::unique_ptr<GangServer>> GangServer::Start(const WorkerOptions* options, AttemptTable* table) {
  REGROUP_RETURN_IF_ERROR(CheckIsOfWorker(options->gang.tls));
  std::unique_ptr<GangServer> server(new GangServer(options, table));
  RpcServerOptions rpc;
  rpc.address = options->gang.listen;
  rpc.tls = options->gang.tls;
  rpc.max_connection_age = kConnectionAge;
  rpc.max_message_bytes = kLimits.bytes;
  rpc.gate = &server->gate_;
  REGROUP_ASSIGN_OR_RETURN(server->server_, RpcServer::Start(rpc, {}));
  server->server_->SetServing(true);
  return server;
}

std::string GangServer::address() const {
  if (!options_->gang.address.empty()) return options_->gang.address;
  const std::string& listened = server_->address();
  for (const char* any : {"0.0.0.0:", "[::]:"}) {
    if (listened.starts_with(any)) return fmt::format("{}:{}", HostName(), server_->port());
  }
  return listened;
}

absl::Status GangServer::AdmitWorker(const grpc::ServerContextBase& context) const {
  REGROUP_RETURN_IF_ERROR(CheckCallerIsWorker(context, options_->gang.tls));
  if (!AttemptTokenOf(context).empty()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnauthenticated, v1::CREDENTIALS_REQUIRED, "the call carries no attempt token");
}

absl::StatusOr<std::shared_ptr<SupervisedAttempt>> GangServer::Admit(const grpc::ServerContextBase& context,
                                                                     const v1::AttemptId& id) const {
  REGROUP_RETURN_IF_ERROR(AdmitWorker(context));
  const std::string token = AttemptTokenOf(context);
  const AttemptKey key = KeyOf(id);
  std::shared_ptr<SupervisedAttempt> attempt = table_->Find(key);
  if (attempt == nullptr && table_->HoldsOtherEpochOf(key)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, v1::STALE_EPOCH,
                     fmt::format("worker {} holds another epoch of {}", options_->id, ToString(key)));
  }
  if (attempt == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND,
                     fmt::format("worker {} was not assigned attempt {}", options_->id, ToString(key)));
  }
  if (attempt->gang_token().empty() || !IsSameSecret(attempt->gang_token(), token)) {
    return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED, "the token is not that of the attempt");
  }
  return attempt;
}

absl::StatusOr<std::shared_ptr<DaemonRun>> GangServer::StartDaemon(const grpc::ServerContextBase& context,
                                                                   const v1::RunDaemonRequest& request) const {
  REGROUP_ASSIGN_OR_RETURN(const std::shared_ptr<SupervisedAttempt> attempt, Admit(context, request.attempt()));
  const std::filesystem::path logs = RankLogFolder(AttemptFolder(options_->work_folder, attempt->key()));
  REGROUP_ASSIGN_OR_RETURN(std::vector<std::string> arguments,
                           DaemonArguments(request.settings(), logs, options_->gang.remote_shell));
  auto run = std::make_shared<DaemonRun>(std::move(arguments));
  REGROUP_RETURN_IF_ERROR(attempt->StartDaemon(run));
  return run;
}

grpc::ServerWriteReactor<v1::RunDaemonResponse>* GangServer::RunDaemon(grpc::CallbackServerContext* context,
                                                                       const v1::RunDaemonRequest* request) {
  const absl::StatusOr<std::shared_ptr<DaemonRun>> run = StartDaemon(*context, *request);
  if (run.ok()) return new DaemonCall(*run);
  LogWarning("rejected a request to start a gang's daemon",
             {{"attempt", ToString(KeyOf(request->attempt()))}, {"reason", std::string(run.status().message())}});
  return new RefusedDaemonCall(run.status());
}

absl::StatusOr<std::shared_ptr<RankContact>> GangServer::FindContact(const grpc::ServerContextBase& context,
                                                                     const v1::AttemptId& id, int member) const {
  REGROUP_ASSIGN_OR_RETURN(const std::shared_ptr<SupervisedAttempt> attempt, Admit(context, id));
  std::shared_ptr<RankContact> contact = attempt->ContactOfHelpers();
  if (contact == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, v1::WRONG_STATE,
                     fmt::format("worker {} does not lead the attempt", options_->id));
  }
  if (member > 0) return contact;
  return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
                   fmt::format("worker {} leads the attempt; its own ranks report to it alone", options_->id));
}

grpc::ServerUnaryReactor* GangServer::RelayAttest(grpc::CallbackServerContext* context,
                                                  const v1::RelayAttestRequest* request, v1::AttestResponse*) {
  const auto contact = FindContact(*context, request->attest().attempt(), request->member());
  if (!contact.ok()) return FinishWith(context, contact.status());
  return FinishWith(context, (*contact)->Attest(request->attest(), request->member()));
}

grpc::ServerUnaryReactor* GangServer::RelayReport(grpc::CallbackServerContext* context,
                                                  const v1::RelayReportRequest* request, v1::ReportResponse* response) {
  const auto contact = FindContact(*context, request->report().attempt(), request->member());
  if (!contact.ok()) return FinishWith(context, contact.status());
  const absl::StatusOr<bool> stop = (*contact)->Report(request->report(), request->member());
  if (stop.ok()) response->set_stop(*stop);
  return FinishWith(context, stop.status());
}

}  // namespace regroup
