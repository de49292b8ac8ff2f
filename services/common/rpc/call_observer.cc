#include "services/common/rpc/call_observer.h"

#include <chrono>
#include <utility>

namespace regroup {
namespace {

using grpc::experimental::InterceptionHookPoints;
using Clock = std::chrono::steady_clock;

class ObservedCall : public grpc::experimental::Interceptor {
 public:
  ObservedCall(grpc::experimental::ServerRpcInfo* info, const CallObserver* observer)
      : method_(info->method()), observer_(observer), start_(Clock::now()) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const std::chrono::duration<double> elapsed = Clock::now() - start_;
      (*observer_)(method_, methods->GetSendStatus().error_code(), elapsed.count());
    }
    methods->Proceed();
  }

 private:
  const std::string method_;
  const CallObserver* observer_;
  const Clock::time_point start_;
};

class ObservedCallFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ObservedCallFactory(CallObserver observer) : observer_(std::move(observer)) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return new ObservedCall(info, &observer_);
  }

 private:
  const CallObserver observer_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallObserverFactory(CallObserver observer) {
  return std::make_unique<ObservedCallFactory>(std::move(observer));
}

}  // namespace regroup
