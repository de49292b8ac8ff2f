// The memory of pretended GPUs: pages that the process may touch only while an operator or a copy has opened them, so
// that a host pointer into a GPU's memory faults here as it would on a GPU. Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstdint>

namespace regroup::fake_gpu {

/// Environment variables of a pretended GPU. Their names begin with TORCH_, because workers pass those on to trainers.
/// Bytes that one GPU has, and those of them that another program holds.
inline constexpr char kBytesVariable[] = "TORCH_FAKE_GPU_BYTES";
inline constexpr char kTakenVariable[] = "TORCH_FAKE_GPU_TAKEN_BYTES";
/// File to which every attempt's process appends a line with the most bytes it held: "<REGROUP_ATTEMPT> <rank>
/// <bytes>".
inline constexpr char kPeakVariable[] = "TORCH_FAKE_GPU_PEAK_FILE";

/// Returns the allocator of the current GPU's memory. It throws c10::OutOfMemoryError as CUDA's does.
c10::Allocator* Memory();

/// Lets this process touch a tensor's memory while it exists; does nothing for a tensor on the CPU.
class Opened {
 public:
  explicit Opened(const at::Tensor& tensor);
  ~Opened();
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  void* block_ = nullptr;
};

/// Returns a view on the CPU of a tensor that is open, or the tensor itself if it is on the CPU.
at::Tensor OnHost(const at::Tensor& tensor);

/// Returns the memory of a GPU: kBytesVariable, by default 80 GiB.
int64_t MemoryBytes();
/// Returns what another program leaves of it: kTakenVariable.
int64_t FreeMemoryBytes();

/// The GPU that this thread computes on.
c10::DeviceIndex CurrentGpu();
void UseGpu(c10::DeviceIndex gpu);

/// Returns the number of GPUs: of the names in CUDA_VISIBLE_DEVICES.
c10::DeviceIndex GpuCount();

}  // namespace regroup::fake_gpu
