#include "tests/fake_gpu/runtime/streams.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

namespace regroup::fake_runtime {
namespace {

int64_t LongestDelay() {
  const char* const value = std::getenv(kDelayVariable);
  return value == nullptr ? 0 : std::atoll(value);
}

}  // namespace

Stream::Stream()
    : random_(static_cast<uint32_t>(getpid()) * 7919U + static_cast<uint32_t>(reinterpret_cast<uintptr_t>(this))),
      thread_([this] { Run(); }) {
  // CUDA's own threads end with the process too.
  thread_.detach();
}

void Stream::Run() {
  const int64_t longest = LongestDelay();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !queue_.empty(); });
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    if (longest > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int64_t>(random_()) % longest));
    }
    work();
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

void Stream::Queue(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void Stream::Synchronize() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool Stream::IsIdle() {
  const std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}

void Event::Record(Stream& stream) {
  int64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = ++recorded_;
  }
  stream.Queue([this, number] {
    {
      const std::lock_guard lock(mutex_);
      reached_ = std::max(reached_, number);
      time_ = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    }
    changed_.notify_all();
  });
}

void Event::MakeWait(Stream& stream) {
  if (std::getenv(kNoWaitsVariable) != nullptr) return;
  int64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = recorded_;
  }
  stream.Queue([this, number] {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return reached_ >= number; });
  });
}

void Event::Synchronize() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return reached_ >= recorded_; });
}

bool Event::IsDone() {
  const std::lock_guard lock(mutex_);
  return reached_ >= recorded_;
}

double Event::Reached() {
  const std::lock_guard lock(mutex_);
  return time_;
}

}  // namespace regroup::fake_runtime
