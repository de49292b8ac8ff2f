#include "tests/fake_gpu/device_memory.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace regroup::fake_gpu {
namespace {

constexpr size_t kPage = 4096;
/// CPU kernels read whole vectors, also behind the last entry.
constexpr size_t kSlack = 256;

struct Block {
  size_t asked = 0;
  size_t mapped = 0;
  /// How many objects have it open.
  int opened = 0;
};

int64_t NumberOf(const char* variable, int64_t otherwise) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atoll(value);
}

/// All blocks of this process, which has one GPU.
class Blocks {
 public:
  void* Add(size_t asked) {
    const size_t bytes = (asked + kSlack + kPage - 1) / kPage * kPage;
    const std::lock_guard lock(mutex_);
    if (held_ + asked > limit_) {
      throw c10::OutOfMemoryError({__func__, __FILE__, static_cast<uint32_t>(__LINE__)},
                                  fmt::format("CUDA out of memory. Tried to allocate {:.2f} MiB. GPU {} has a total "
                                              "capacity of {:.2f} MiB of which {:.2f} MiB is free.",
                                              asked / kMiB, CurrentGpu(), limit_ / kMiB, (limit_ - held_) / kMiB));
    }
    void* const start = Take(bytes);
    blocks_[start] = {.asked = asked, .mapped = bytes};
    held_ += asked;
    peak_ = std::max(peak_, held_);
    return start;
  }

  void Remove(void* start) {
    const std::lock_guard lock(mutex_);
    const Block block = blocks_.at(start);
    held_ -= block.asked;
    blocks_.erase(start);
    if (kept_bytes_ + block.mapped <= kMostKeptBytes) {
      kept_[block.mapped].push_back(start);
      kept_bytes_ += block.mapped;
    } else {
      munmap(start, block.mapped);
    }
  }

  void Open(void* start) {
    const std::lock_guard lock(mutex_);
    Block& block = blocks_.at(start);
    if (block.opened++ == 0) mprotect(start, block.mapped, PROT_READ | PROT_WRITE);
  }

  void Close(void* start) {
    const std::lock_guard lock(mutex_);
    Block& block = blocks_.at(start);
    if (--block.opened == 0) mprotect(start, block.mapped, PROT_NONE);
  }

  void ReportPeak() const {
    const char* const file = std::getenv(kPeakVariable);
    const char* const attempt = std::getenv("REGROUP_ATTEMPT");
    if (file == nullptr || attempt == nullptr || peak_ == 0) return;
    const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
    // One short write in append mode, so that lines of several ranks do not mix.
    const std::string line = fmt::format("{} {} {}\n", attempt, rank == nullptr ? "0" : rank, peak_);
    if (FILE* const out = std::fopen(file, "a"); out != nullptr) {
      std::fwrite(line.data(), 1, line.size(), out);
      std::fclose(out);
    }
  }

 private:
  static constexpr double kMiB = 1 << 20;
  static constexpr size_t kMostKeptBytes = size_t{256} << 20;

  /// Returns closed memory of this size: as from CUDA's caching allocator, that of a released block, with its content.
  void* Take(size_t bytes) {
    if (const auto kept = kept_.find(bytes); kept != kept_.end() && !kept->second.empty()) {
      void* const start = kept->second.back();
      kept->second.pop_back();
      kept_bytes_ -= bytes;
      return start;
    }
    void* const start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TORCH_CHECK(start != MAP_FAILED, "the host has no memory for a pretended GPU");
    return start;
  }

  const size_t limit_ = static_cast<size_t>(FreeMemoryBytes());
  std::mutex mutex_;
  std::map<void*, Block> blocks_;
  size_t held_ = 0, peak_ = 0;
  /// Released memory by its size, and how much it is.
  std::map<size_t, std::vector<void*>> kept_;
  size_t kept_bytes_ = 0;
};

/// Never destroyed, since other static objects may hold tensors until the end of the process.
Blocks& AllBlocks() {
  static Blocks* const blocks = [] {
    std::atexit([] { AllBlocks().ReportPeak(); });
    return new Blocks;
  }();
  return *blocks;
}

void Release(void* start) { AllBlocks().Remove(start); }

class DeviceAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::kCUDA, CurrentGpu());
    if (bytes == 0) return {nullptr, nullptr, nullptr, device};
    void* const start = AllBlocks().Add(bytes);
    return {start, start, Release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return Release; }
  void copy_data(void*, const void*, size_t) const override {
    TORCH_CHECK(false, "memory of a GPU is copied by its address");
  }
};

thread_local c10::DeviceIndex current_gpu = 0;

}  // namespace

c10::Allocator* Memory() {
  static DeviceAllocator allocator;
  return &allocator;
}

Opened::Opened(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return;
  block_ = const_cast<void*>(tensor.storage().data());
  if (block_ != nullptr) AllBlocks().Open(block_);
}

Opened::~Opened() {
  if (block_ != nullptr) AllBlocks().Close(block_);
}

at::Tensor OnHost(const at::Tensor& tensor) {
  if (!tensor.is_cuda()) return tensor.detach();
  const at::TensorOptions options = at::TensorOptions(at::kCPU).dtype(tensor.dtype());
  auto* const start = static_cast<char*>(const_cast<void*>(tensor.storage().data()));
  if (start == nullptr || tensor.numel() == 0) return at::empty(tensor.sizes(), options);
  return at::from_blob(start + tensor.storage_offset() * tensor.element_size(), tensor.sizes(), tensor.strides(),
                       options);
}

int64_t MemoryBytes() { return NumberOf(kBytesVariable, int64_t{80} << 30); }

int64_t FreeMemoryBytes() { return MemoryBytes() - NumberOf(kTakenVariable, 0); }

c10::DeviceIndex CurrentGpu() { return current_gpu; }

void UseGpu(c10::DeviceIndex gpu) { current_gpu = gpu; }

c10::DeviceIndex GpuCount() {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr || *visible == '\0') return 0;
  return static_cast<c10::DeviceIndex>(1 + std::count(visible, visible + std::string(visible).size(), ','));
}

}  // namespace regroup::fake_gpu
