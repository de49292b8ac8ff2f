#include "trainer/parallel/side_lane.h"

#include <ATen/Parallel.h>
#include <omp.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "services/common/base/machine_errors.h"

namespace regroup {
namespace {

class InlineLane final : public SideLane {
 public:
  void Launch(std::function<absl::Status()> call) override {
    if (status_.ok()) status_ = call();
  }
  int64_t Mark() override { return 0; }
  void WaitFor(int64_t) override {}
  absl::Status Finish() override { return status_; }

 private:
  absl::Status status_;
};

class ThreadLane final : public SideLane {
 public:
  ThreadLane() : thread_([this] { Work(); }) {}
  ~ThreadLane() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void Launch(std::function<absl::Status()> call) override {
    {
      const std::lock_guard lock(mutex_);
      calls_.push_back(std::move(call));
      ++launched_;
    }
    changed_.notify_all();
  }

  int64_t Mark() override { return launched_; }

  void WaitFor(int64_t mark) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, mark] { return done_ >= mark; });
  }

  absl::Status Finish() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return calls_.empty() && !running_; });
    return status_;
  }

 private:
  void Work() {
    // libtorch sets a thread's number of cores on its first computation, so that is triggered before the number is
    // changed.
    at::internal::lazy_init_num_threads();
    omp_set_num_threads(1);
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return !calls_.empty() || stopping_; });
      if (calls_.empty()) return;
      RunFirst(lock);
    }
  }

  void RunFirst(std::unique_lock<std::mutex>& lock) {
    const std::function<absl::Status()> call = std::move(calls_.front());
    calls_.pop_front();
    if (!status_.ok()) {
      ++done_;
      return changed_.notify_all();
    }
    running_ = true;
    lock.unlock();
    absl::Status status;
    try {
      status = call();
    } catch (const std::exception& error) {
      status = StatusOfException(error);
    }
    lock.lock();
    running_ = false;
    ++done_;
    status_ = std::move(status);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<absl::Status()>> calls_;
  /// `launched_` belongs to the caller's thread.
  int64_t launched_ = 0, done_ = 0;
  bool running_ = false;
  bool stopping_ = false;
  absl::Status status_;
  /// Declared last, because it uses all of the above.
  std::thread thread_;
};

}  // namespace

std::unique_ptr<SideLane> MakeInlineLane() { return std::make_unique<InlineLane>(); }

std::unique_ptr<SideLane> MakeThreadLane() { return std::make_unique<ThreadLane>(); }

}  // namespace regroup
