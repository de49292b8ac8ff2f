// Calls in progress that end together when their program no longer wants the answers. Every function may be called from
// any thread.
#pragma once

#include <grpcpp/client_context.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

namespace regroup {

class OpenCalls {
 public:
  /// Registers the context of a call while it runs.
  class Scope {
   public:
    explicit Scope(OpenCalls& calls) : calls_(calls) { calls_.Add(&context_); }
    ~Scope() { calls_.Remove(&context_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    grpc::ClientContext& context() { return context_; }

   private:
    OpenCalls& calls_;
    grpc::ClientContext context_;
  };

  /// Cancels the calls in progress and all later ones, and ends every wait.
  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (grpc::ClientContext* context : contexts_) context->TryCancel();
    changed_.notify_all();
  }

  bool IsStopped() {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }

  /// Waits; returns false if Stop was called.
  bool Wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, [this] { return stopped_; });
  }

 private:
  void Add(grpc::ClientContext* context) {
    const std::lock_guard lock(mutex_);
    contexts_.insert(context);
    if (stopped_) context->TryCancel();
  }

  void Remove(grpc::ClientContext* context) {
    const std::lock_guard lock(mutex_);
    contexts_.erase(context);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<grpc::ClientContext*> contexts_;
  bool stopped_ = false;
};

}  // namespace regroup
