#include "tests/load/echo.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

/// Handles one call: reads the message, writes it back, ends.
class EchoCall : public grpc::ServerGenericBidiReactor {
 public:
  EchoCall() { StartRead(&bytes_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    StartWriteAndFinish(&bytes_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer bytes_;
};

class EchoService : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new EchoCall();
  }
};

struct PendingEcho {
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
};

void StartEcho(grpc::GenericStub& stub, const std::string& bytes, const Answered& answered) {
  auto call = std::make_shared<PendingEcho>();
  call->context.set_deadline(std::chrono::system_clock::now() + kCallPatience);
  const grpc::Slice slice(bytes);
  call->request = grpc::ByteBuffer(&slice, 1);
  stub.UnaryCall(&call->context, "/echo/Echo", grpc::StubOptions(), &call->request, &call->response,
                 [call, answered](const grpc::Status& status) { answered(FromGrpc(status)); });
}

}  // namespace

absl::Status ServeEcho(const EchoServerOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options.address, options.tls));
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, credentials, &port);
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::UnavailableError("cannot listen on " + options.address);
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(options.port_file, std::to_string(port) + "\n"));
  server->Wait();
  return absl::OkStatus();
}

absl::StatusOr<LatencyReport> LoadEcho(const LoadOptions& options, double per_second, double seconds) {
  REGROUP_ASSIGN_OR_RETURN(const auto connection, Connection::Open(options));
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (int i = 0; i < options.connections; ++i) {
    stubs.push_back(std::make_unique<grpc::GenericStub>(connection->channel()));
  }
  return RunOpenLoop(per_second, seconds, [&](int call, const Answered& answered) {
    const std::string bytes = LoadRequest("load-" + std::to_string(call)).SerializeAsString();
    StartEcho(*stubs[static_cast<size_t>(call) % stubs.size()], bytes, answered);
  });
}

}  // namespace regroup
