// Connects the load programs to a coordinator: several channels with the caller's certificate and token, as several
// clients on one machine would open, and calls whose errors are absl::Status.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/job_service.grpc.pb.h"
#include "regroup/v1/worker_service.grpc.pb.h"
#include "services/common/base/error.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/status.h"

namespace regroup {

inline constexpr std::chrono::seconds kCallPatience(20);

/// The coordinator to call, and the identity to call it with.
struct LoadOptions {
  std::string coordinator;
  ClientIdentity identity;
  int connections = 4;
};

/// Thread-safe.
class Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const LoadOptions& options);

  /// Returns the channels in turn.
  const std::shared_ptr<grpc::Channel>& channel() const { return channels_[next_++ % channels_.size()]; }
  std::unique_ptr<v1::JobService::Stub> jobs() const { return v1::JobService::NewStub(channel()); }
  std::unique_ptr<v1::WorkerService::Stub> workers() const { return v1::WorkerService::NewStub(channel()); }

 private:
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  mutable std::atomic<size_t> next_ = 0;
};

/// Makes a unary call with a deadline: Call(*stub, &v1::JobService::Stub::GetJob, request, &response).
template <typename Stub, typename Request, typename Response>
absl::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response, std::chrono::milliseconds patience = kCallPatience) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + patience);
  return FromGrpc((stub.*method)(&context, request, response));
}

/// Returns true if the coordinator said neither yes nor no: it was killed, or its store could not be written.
inline bool IsUnanswered(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         ReasonOf(status) == v1::WORKER_NOT_REGISTERED;
}

/// Returns a submission of a conversion with six tasks: inspect, calibrate, two layers, export, report.
v1::SubmitJobRequest LoadRequest(const std::string& request_id);

}  // namespace regroup
