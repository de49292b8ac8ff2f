// Lets a call in before its request is read: the caller's metadata is checked first, then the request's length and
// entries, and only then is the request parsed. A caller that is refused costs no more than its headers.
//
// gRPC reads and parses the request of a registered method before the service sees the call. The gate is therefore the
// server's generic service, which gets every call that no other service takes. Filled before the server starts, used by
// gRPC's threads afterwards.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/common/rpc/gated_call.h"

namespace regroup {

/// "JobService/GetJob" for "/regroup.v1.JobService/GetJob"; empty for other paths.
std::string_view ShortMethodName(std::string_view path);

class CallGate : public grpc::CallbackGenericService {
 public:
  /// Returns OK if the caller may make the call "JobService/GetJob".
  using Check = std::function<absl::Status(const grpc::ServerContextBase& context, std::string_view method)>;

  explicit CallGate(Check check) : check_(std::move(check)) {}

  /// Serves "JobService/GetJob" by a method of a service, which must outlive the gate's server.
  template <typename Service, typename Request, typename Response>
  void Add(const std::string& name, Service* service,
           grpc::ServerUnaryReactor* (Service::*method)(grpc::CallbackServerContext*, const Request*, Response*),
           const RequestLimits& limits) {
    using Call = GatedUnaryCall<Request, Response>;
    typename Call::Method run = [service, method](grpc::CallbackServerContext* context, const Request* request,
                                                  Response* response) {
      return (service->*method)(context, request, response);
    };
    AddStarter(name, [run = std::move(run), limits](grpc::CallbackServerContext* context) {
      return new Call(context, &run, limits);
    });
  }

  /// Does the same for a method that answers with a stream.
  template <typename Service, typename Request, typename Response>
  void Add(const std::string& name, Service* service,
           grpc::ServerWriteReactor<Response>* (Service::*method)(grpc::CallbackServerContext*, const Request*),
           const RequestLimits& limits) {
    using Call = GatedStream<Request, Response>;
    typename Call::Method run = [service, method](grpc::CallbackServerContext* context, const Request* request) {
      return (service->*method)(context, request);
    };
    AddStarter(name, [run = std::move(run), limits](grpc::CallbackServerContext* context) {
      return new Call(context, &run, limits);
    });
  }

  /// Returns true if the gate serves "/regroup.v1.JobService/GetJob".
  bool Serves(std::string_view path) const { return starters_.count(std::string(path)) > 0; }

  /// Returns a service for each one that the gate serves, to be registered so that reflection lists it.
  std::vector<std::unique_ptr<grpc::Service>> ListedServices() const;

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;

 private:
  using Starter = std::function<grpc::ServerGenericBidiReactor*(grpc::CallbackServerContext*)>;

  void AddStarter(const std::string& name, Starter starter);

  const Check check_;
  /// Starts a call, by its path.
  std::map<std::string, Starter> starters_;
  /// The start of the paths of each service.
  std::set<std::string> listed_;
};

}  // namespace regroup
