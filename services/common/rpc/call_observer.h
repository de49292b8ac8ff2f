// Watches every call of a server from its first byte to its status.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "services/common/rpc/server.h"

namespace regroup {

/// The observer is called from gRPC's threads, once per call.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallObserverFactory(CallObserver observer);

}  // namespace regroup
