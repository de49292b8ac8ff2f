#include "services/common/rpc/call_gate.h"

#include <google/protobuf/empty.pb.h>

#include <utility>

#include "services/common/rpc/status.h"

namespace regroup {
namespace {

constexpr std::string_view kPackage = "/regroup.v1.";

/// A call that ends at once, without a look at its request.
class RefusedCall : public grpc::ServerGenericBidiReactor {
 public:
  explicit RefusedCall(grpc::Status status) { Finish(std::move(status)); }
  void OnDone() override { delete this; }
};

/// A service without calls. gRPC's reflection lists the services of registered methods only, and so it has one method,
/// which refuses everybody and does not parse its request.
class ListedService : public grpc::Service {
 public:
  /// `path` must outlive the service.
  explicit ListedService(const char* path) {
    AddMethod(new grpc::internal::RpcServiceMethod(path, grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodRawCallback(0, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                                 [](grpc::CallbackServerContext* context, const grpc::ByteBuffer*, grpc::ByteBuffer*) {
                                   grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
                                   reactor->Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""));
                                   return reactor;
                                 }));
  }
};

}  // namespace

std::string_view ShortMethodName(std::string_view path) {
  return path.starts_with(kPackage) ? path.substr(kPackage.size()) : std::string_view();
}

void CallGate::AddStarter(const std::string& name, Starter starter) {
  const std::string path = std::string(kPackage) + name;
  starters_[path] = std::move(starter);
  listed_.insert(path.substr(0, path.rfind('/') + 1));
}

std::vector<std::unique_ptr<grpc::Service>> CallGate::ListedServices() const {
  std::vector<std::unique_ptr<grpc::Service>> services;
  for (const std::string& path : listed_) services.push_back(std::make_unique<ListedService>(path.c_str()));
  return services;
}

grpc::ServerGenericBidiReactor* CallGate::CreateReactor(grpc::GenericCallbackServerContext* context) {
  const auto starter = starters_.find(context->method());
  if (starter == starters_.end()) {
    return new RefusedCall(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "there is no such call"));
  }
  const absl::Status allowed = check_(*context, ShortMethodName(context->method()));
  return allowed.ok() ? starter->second(context) : new RefusedCall(ToGrpc(allowed));
}

void GatedCall::OnReadDone(bool ok) {
  const absl::Status status =
      ok ? CheckRequest(request_type_, bytes_, limits_) : absl::InvalidArgumentError("the call carries no request");
  grpc::Status served = status.ok() ? Serve(&bytes_) : ToGrpc(status);
  bytes_.Clear();
  if (!served.ok()) return Finish(std::move(served));
  if ((state_.fetch_or(kIsServed) & kIsCancelled) != 0) reactor_->OnCancel();
}

void GatedCall::OnCancel() {
  if ((state_.fetch_or(kIsCancelled) & kIsServed) != 0) reactor_->OnCancel();
}

void GatedCall::OnDone() {
  if (reactor_ != nullptr) reactor_->OnDone();
  delete this;
}

}  // namespace regroup
