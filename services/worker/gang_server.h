// The GangService of a worker, which the other workers of its gangs call.
//
// Owned by the worker. Thread-safe. It uses mutual TLS, unless it listens on this machine only; a caller must be a
// worker and send the token that the coordinator gave to the attempt's workers. The request is read only if the caller
// is a worker with a token of any attempt.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.pb.h"
#include "services/common/rpc/call_gate.h"
#include "services/common/rpc/server.h"
#include "services/worker/attempt/attempt_table.h"
#include "services/worker/worker_options.h"

namespace regroup {

class GangServer final {
 public:
  /// Listens on options.gang.listen. Both outlive the server.
  static absl::StatusOr<std::unique_ptr<GangServer>> Start(const WorkerOptions* options, AttemptTable* table);

  /// Returns the address for other workers: options.gang.address, or the host and the port that it listens on.
  std::string address() const;

 private:
  GangServer(const WorkerOptions* options, AttemptTable* table);

  grpc::ServerWriteReactor<v1::RunDaemonResponse>* RunDaemon(grpc::CallbackServerContext* context,
                                                             const v1::RunDaemonRequest* request);
  grpc::ServerUnaryReactor* RelayAttest(grpc::CallbackServerContext* context, const v1::RelayAttestRequest* request,
                                        v1::AttestResponse* response);
  grpc::ServerUnaryReactor* RelayReport(grpc::CallbackServerContext* context, const v1::RelayReportRequest* request,
                                        v1::ReportResponse* response);

  /// Returns OK if the caller is a worker and sends a token, whichever it is.
  absl::Status AdmitWorker(const grpc::ServerContextBase& context) const;
  /// Returns the attempt that the call is about, if the caller is authorised for it.
  absl::StatusOr<std::shared_ptr<SupervisedAttempt>> Admit(const grpc::ServerContextBase& context,
                                                           const v1::AttemptId& id) const;
  /// Returns what answers the ranks of a helper, which is the gang's `member`. PERMISSION_DENIED (NOT_ALLOWED) for the
  /// lead's own ranks, which call over its unix socket.
  absl::StatusOr<std::shared_ptr<RankContact>> FindContact(const grpc::ServerContextBase& context,
                                                           const v1::AttemptId& id, int member) const;
  absl::StatusOr<std::shared_ptr<DaemonRun>> StartDaemon(const grpc::ServerContextBase& context,
                                                         const v1::RunDaemonRequest& request) const;

  const WorkerOptions* const options_;
  AttemptTable* const table_;
  CallGate gate_;
  std::unique_ptr<RpcServer> server_;
};

}  // namespace regroup
