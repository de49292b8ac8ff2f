#include "tests/load/heartbeats.h"

#include <fmt/format.h>

#include <condition_variable>
#include <list>
#include <mutex>

#include "coordinator/job/time.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kWait(30);

struct PendingBeat {
  grpc::ClientContext context;
  v1::HeartbeatRequest request;
  v1::HeartbeatResponse response;
};

struct PendingAcquire {
  grpc::ClientContext context;
  v1::AcquireTaskRequest request;
  v1::AcquireTaskResponse response;
};

class IdleWorker {
 public:
  IdleWorker(std::unique_ptr<Connection> connection, int number)
      : id_(fmt::format("load-idle-{}", number)), connection_(std::move(connection)), stub_(connection_->workers()) {}
  IdleWorker(IdleWorker&&) = delete;
  ~IdleWorker() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    if (acquire_ != nullptr) acquire_->context.TryCancel();
    ended_.wait(lock, [this] { return acquire_ == nullptr; });
  }

  absl::Status Register() {
    v1::RegisterWorkerRequest request;
    request.set_worker(id_);
    request.set_incarnation(1);
    request.set_slots(2);
    request.set_version(REGROUP_VERSION);
    request.set_device("cpu");
    v1::RegisterWorkerResponse response;
    return Call(*stub_, &v1::WorkerService::Stub::RegisterWorker, request, &response);
  }

  void Beat(const Answered& answered) {
    auto call = std::make_shared<PendingBeat>();
    call->context.set_deadline(std::chrono::system_clock::now() + kCallPatience);
    call->request.set_worker(id_);
    call->request.set_incarnation(1);
    stub_->async()->Heartbeat(&call->context, &call->request, &call->response,
                              [call, answered](const grpc::Status& status) { answered(FromGrpc(status)); });
  }

  /// Waits for a task, over and over.
  void Acquire() {
    const auto call = std::make_shared<PendingAcquire>();
    {
      const std::lock_guard lock(mutex_);
      acquire_ = stopping_ ? nullptr : call;
      ended_.notify_all();
      if (stopping_) return;
    }
    call->request.set_worker(id_);
    call->request.set_incarnation(1);
    call->request.set_free_slots(2);
    *call->request.mutable_wait() = ToProto(Duration(kWait));
    // Called without the lock: gRPC may answer at once, on this thread.
    stub_->async()->AcquireTask(&call->context, &call->request, &call->response,
                                [this, call](const grpc::Status&) { Acquire(); });
  }

 private:
  const std::string id_;
  const std::unique_ptr<Connection> connection_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::shared_ptr<PendingAcquire> acquire_;
  bool stopping_ = false;
};

}  // namespace

absl::StatusOr<LatencyReport> LoadHeartbeats(const LoadOptions& options, const HeartbeatLoad& load) {
  LoadOptions own = options;
  own.connections = 1;
  std::list<IdleWorker> workers;
  std::vector<IdleWorker*> in_order;
  for (int i = 0; i < load.workers; ++i) {
    REGROUP_ASSIGN_OR_RETURN(auto connection, Connection::Open(own));
    IdleWorker& worker = workers.emplace_back(std::move(connection), i);
    REGROUP_RETURN_IF_ERROR(worker.Register());
    worker.Acquire();
    in_order.push_back(&worker);
  }
  return RunOpenLoop(load.workers * load.per_worker_second, load.seconds, [&](int call, const Answered& answered) {
    in_order[static_cast<size_t>(call) % in_order.size()]->Beat(answered);
  });
}

}  // namespace regroup
