#include "services/common/rpc/memory_return.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>

#include "services/common/base/process_memory.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kInterval(1);
constexpr std::chrono::seconds kLongestInterval(32);
constexpr size_t kGrowth = 8 << 20;

}  // namespace

MemoryReturn::MemoryReturn() : thread_(&MemoryReturn::Run, this) {}

MemoryReturn::~MemoryReturn() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void MemoryReturn::Run() {
  size_t least = MemoryInUse().resident;
  std::chrono::seconds pause = kInterval;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, pause, [this] { return stopping_; })) {
    if (MemoryInUse().resident > least + kGrowth) malloc_trim(0);
    const size_t now = MemoryInUse().resident;
    least = std::min(least, now);
    // Memory that is still in use will be free later; a program that needs more for good is not searched every second.
    pause = now > least + kGrowth ? std::min(2 * pause, kLongestInterval) : kInterval;
  }
}

}  // namespace regroup
