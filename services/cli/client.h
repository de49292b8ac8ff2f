// The commands' client of the coordinator's API: blocking calls with a deadline, errors as absl::Status.
//
// Every function may be called from any thread.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/cluster_service.grpc.pb.h"
#include "regroup/v1/job_service.grpc.pb.h"
#include "services/common/rpc/channel.h"

namespace regroup {

class Client {
 public:
  using JobStub = v1::JobService::Stub;
  using ClusterStub = v1::ClusterService::Stub;

  /// Returns a client that connects with the first call. FAILED_PRECONDITION for another machine without TLS.
  static absl::StatusOr<Client> Open(const std::string& address, const ClientIdentity& identity = {});

  const std::string& address() const { return address_; }

  /// Makes a call of the job service, for example Call(&Client::JobStub::GetJob, request). UNAVAILABLE names the
  /// address.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (JobStub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) const {
    return CallOn(*jobs_, method, request);
  }
  /// Makes a call of the cluster service.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (ClusterStub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) const {
    return CallOn(*clusters_, method, request);
  }

  /// As the two above, with a context of the caller's that another thread may cancel.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (JobStub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, grpc::ClientContext& context) const {
    return CallOn(*jobs_, method, request, context);
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (ClusterStub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, grpc::ClientContext& context) const {
    return CallOn(*clusters_, method, request, context);
  }

  /// Submits with a W3C trace context as metadata, as programs that are instrumented pass it on; an empty one takes
  /// none along.
  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request, const std::string& traceparent) const;

  /// Reads a stream to its end. `on_message` returns false to stop early; the result is then OK. `context` may be
  /// cancelled from another thread.
  template <typename Request, typename Message>
  absl::Status Read(std::unique_ptr<grpc::ClientReader<Message>> (JobStub::*method)(grpc::ClientContext*,
                                                                                    const Request&),
                    grpc::ClientContext& context, const Request& request,
                    const std::function<bool(const Message&)>& on_message) const {
    const auto reader = (*jobs_.*method)(&context, request);
    Message message;
    while (reader->Read(&message)) {
      if (on_message(message)) continue;
      context.TryCancel();
      while (reader->Read(&message)) {
      }
      reader->Finish();
      return absl::OkStatus();
    }
    return Explain(reader->Finish());
  }

 private:
  Client(std::string address, std::shared_ptr<grpc::Channel> channel, bool uses_tls);

  static constexpr std::chrono::seconds kPatience{30};

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> CallOn(Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                  const Request& request) const {
    grpc::ClientContext context;
    return CallOn(stub, method, request, context);
  }

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> CallOn(Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                  const Request& request, grpc::ClientContext& context) const {
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Response response;
    const absl::Status status = Explain((stub.*method)(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }

  absl::Status Explain(const grpc::Status& status) const;

  std::string address_;
  bool uses_tls_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<JobStub> jobs_;
  std::unique_ptr<ClusterStub> clusters_;
};

/// Returns the trace context of the variable TRACEPARENT; empty if there is none, or if it is malformed, which the
/// recommendation says to ignore.
std::string TraceparentOfEnvironment();

}  // namespace regroup
