#include "services/common/rpc/memory_return.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace regroup {
namespace {

constexpr std::chrono::seconds kInterval(1);
constexpr std::chrono::seconds kLongestInterval(32);
constexpr size_t kGrowth = 8 << 20;

}  // namespace

size_t ResidentBytes() {
  unsigned long total_pages = 0;
  unsigned long resident_pages = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%lu %lu", &total_pages, &resident_pages) != 2) resident_pages = 0;
  std::fclose(file);
  return resident_pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

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
  size_t least = ResidentBytes();
  std::chrono::seconds pause = kInterval;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, pause, [this] { return stopping_; })) {
    if (ResidentBytes() > least + kGrowth) malloc_trim(0);
    const size_t now = ResidentBytes();
    least = std::min(least, now);
    // Memory that is still in use will be free later; a program that needs more for good is not searched every second.
    pause = now > least + kGrowth ? std::min(2 * pause, kLongestInterval) : kInterval;
  }
}

}  // namespace regroup
