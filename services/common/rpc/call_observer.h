// Measures every call of a server from its first byte to its status.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "services/common/rpc/server.h"

namespace regroup {

/// Returns a factory of interceptors that call the observer once per call, from gRPC's threads.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallObserverFactory(CallObserver observer);

}  // namespace regroup
