// The plug-in of the pretended GPUs, in the place of libregroup_cuda.so: collectives go through the host's MPI.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <utility>

#include "tests/fake_gpu/device_memory.h"
#include "trainer/parallel/communicator.h"
#include "trainer/parallel/cuda_plugin.h"

namespace regroup {
namespace {

/// Rank whose GPU cannot join the others.
constexpr char kJoinFailureVariable[] = "TORCH_FAKE_GPU_JOIN_FAILS";

/// Copies tensors to the CPU, calls the host's communicator, and copies the results back.
class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(std::unique_ptr<Communicator> host, int gpu)
      : host_(std::move(host)), device_(at::kCUDA, static_cast<at::DeviceIndex>(gpu)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::unique_ptr<SideLane> MakeSideLane() override { return MakeInlineLane(); }

 private:
  /// Checks what NCCL demands of a tensor, and does not check itself.
  void Check(const at::Tensor& tensor) const {
    TORCH_CHECK(tensor.is_cpu() || tensor.device() == device_, "a collective on ", tensor.device(), " by the rank of ",
                device_);
    TORCH_CHECK(tensor.is_contiguous(), "a collective on a tensor that is not contiguous");
  }

  absl::Status DoAllReduceSum(at::Tensor& tensor) override {
    Check(tensor);
    at::Tensor host = tensor.cpu();
    const absl::Status status = host_->AllReduceSum(host);
    tensor.copy_(host);
    return status;
  }

  template <typename Call>
  absl::Status Staged(const at::Tensor& input, at::Tensor& output, Call call) {
    Check(input);
    Check(output);
    TORCH_CHECK(input.dtype() == output.dtype(), "a collective from ", input.dtype(), " to ", output.dtype());
    at::Tensor host = output.cpu();
    const absl::Status status = call(input.cpu(), host);
    output.copy_(host);
    return status;
  }

  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    TORCH_CHECK(input.numel() == output.numel() * size(), "reduce_scatter of ", input.numel(), " to ", output.numel());
    return Staged(input, output,
                  [&](const at::Tensor& from, at::Tensor& to) { return host_->ReduceScatterSum(from, to); });
  }

  absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) override {
    TORCH_CHECK(output.numel() == input.numel() * size(), "all_gather of ", input.numel(), " to ", output.numel());
    return Staged(input, output, [&](const at::Tensor& from, at::Tensor& to) { return host_->AllGather(from, to); });
  }

  absl::Status DoBroadcast(at::Tensor& tensor, int root) override {
    Check(tensor);
    at::Tensor host = tensor.cpu();
    const absl::Status status = host_->Broadcast(host, root);
    tensor.copy_(host);
    return status;
  }

  absl::Status DoBarrier() override { return host_->Barrier(); }
  absl::Status DoRestingBarrier() override { return host_->RestingBarrier(); }

  std::unique_ptr<Communicator> host_;
  const at::Device device_;
};

int DeviceCount(std::string& why) {
  why = "CUDA_VISIBLE_DEVICES names no GPU";
  return fake_gpu::GpuCount();
}

int64_t MemoryBytes(int /*device*/) { return fake_gpu::MemoryBytes(); }

int64_t FreeMemoryBytes(int /*device*/) { return fake_gpu::FreeMemoryBytes(); }

void UseDevice(int device) { fake_gpu::UseGpu(static_cast<c10::DeviceIndex>(device)); }

Communicator* MakeCommunicator(Communicator* host, int device, LostGpu /*lost*/, std::string& error) {
  const char* const failing = std::getenv(kJoinFailureVariable);
  if (failing != nullptr && std::atoi(failing) == host->rank()) {
    error = "ncclCommInitRank: unhandled cuda error";
    return nullptr;
  }
  return new StagedCommunicator(std::unique_ptr<Communicator>(host), device);
}

}  // namespace
}  // namespace regroup

extern "C" const regroup::CudaPlugin RegroupCudaPlugin = {
    .device_count = regroup::DeviceCount,
    .memory_bytes = regroup::MemoryBytes,
    .free_memory_bytes = regroup::FreeMemoryBytes,
    .use_device = regroup::UseDevice,
    .make_communicator = regroup::MakeCommunicator,
};
