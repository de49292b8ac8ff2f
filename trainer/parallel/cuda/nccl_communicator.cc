// The module libregroup_cuda.so: implements collectives between GPUs with NCCL.
//
// Work is queued on the current stream and runs in its order; only Barrier waits for the GPU. A side lane is another
// stream. Tensors on the CPU (counters, digests) go through the host communicator.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>
#include <nccl.h>

#include "trainer/parallel/cuda_plugin.h"

namespace regroup {
namespace {

absl::Status ToStatus(ncclResult_t result, const char* operation) {
  if (result == ncclSuccess) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("{}: {}", operation, ncclGetErrorString(result)));
}

ncclDataType_t TypeOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kHalf:
      return ncclFloat16;
    case at::kLong:
      return ncclInt64;
    case at::kInt:
      return ncclInt32;
    case at::kByte:
      return ncclUint8;
    default:
      return ncclFloat32;
  }
}

/// Calls queue their work on a stream that waits for the caller's, and Finish makes the caller's stream wait for it.
class StreamLane final : public SideLane {
 public:
  ~StreamLane() override { stream_.synchronize(); }

  void Launch(std::function<absl::Status()> call) override {
    if (!status_.ok()) return;
    computed_.record(Current());
    computed_.block(stream_);
    const c10::StreamGuard guard(stream_);
    status_ = call();
  }

  absl::Status Finish() override {
    done_.record(stream_);
    done_.block(Current());
    return status_;
  }

 private:
  static c10::Stream Current() { return at::cuda::getCurrentCUDAStream().unwrap(); }

  // libc10's own stream, which calls the CUDA runtime on our behalf: this module is not linked with it.
  const c10::Stream stream_ = c10::cuda::getStreamFromPool(/*isHighPriority=*/true).unwrap();
  c10::Event computed_{c10::DeviceType::CUDA}, done_{c10::DeviceType::CUDA};
  absl::Status status_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, ncclComm_t nccl) : host_(std::move(host)), nccl_(nccl) {}
  ~NcclCommunicator() override { ncclCommDestroy(nccl_); }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::unique_ptr<SideLane> MakeSideLane() override { return std::make_unique<StreamLane>(); }

 private:
  static cudaStream_t Stream() { return at::cuda::getCurrentCUDAStream(); }

  absl::Status DoAllReduceSum(at::Tensor& tensor) override {
    if (tensor.is_cpu()) return host_->AllReduceSum(tensor);
    return ToStatus(ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(), TypeOf(tensor),
                                  ncclSum, nccl_, Stream()),
                    "all_reduce");
  }

  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    if (input.is_cpu()) return host_->ReduceScatterSum(input, output);
    return ToStatus(ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), output.numel(), TypeOf(input),
                                      ncclSum, nccl_, Stream()),
                    "reduce_scatter");
  }

  absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) override {
    if (input.is_cpu()) return host_->AllGather(input, output);
    return ToStatus(
        ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), input.numel(), TypeOf(input), nccl_, Stream()),
        "all_gather");
  }

  absl::Status DoBroadcast(at::Tensor& tensor, int root) override {
    if (tensor.is_cpu()) return host_->Broadcast(tensor, root);
    return ToStatus(ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(), TypeOf(tensor),
                                  root, nccl_, Stream()),
                    "broadcast");
  }

  absl::Status DoBarrier() override {
    at::cuda::getCurrentCUDAStream().synchronize();
    return host_->Barrier();
  }

  std::unique_ptr<Communicator> host_;
  ncclComm_t nccl_;
};

int DeviceCount() { return c10::cuda::device_count(); }

void UseDevice(int device) { c10::cuda::set_device(static_cast<c10::DeviceIndex>(device)); }

Communicator* MakeNcclCommunicator(Communicator* host_pointer, int device, std::string& error) {
  std::unique_ptr<Communicator> host(host_pointer);
  UseDevice(device);
  ncclUniqueId id;
  absl::Status status = host->rank() == 0 ? ToStatus(ncclGetUniqueId(&id), "ncclGetUniqueId") : absl::OkStatus();
  at::Tensor bytes = at::from_blob(&id, {static_cast<int64_t>(sizeof id)}, at::kByte);
  if (status.ok()) status = host->Broadcast(bytes, 0);
  ncclComm_t nccl = nullptr;
  if (status.ok()) status = ToStatus(ncclCommInitRank(&nccl, host->size(), id, host->rank()), "ncclCommInitRank");
  if (status.ok()) return new NcclCommunicator(std::move(host), nccl);
  error = std::string(status.message());
  return nullptr;
}

}  // namespace
}  // namespace regroup

extern "C" const regroup::CudaPlugin RegroupCudaPlugin = {
    .device_count = regroup::DeviceCount,
    .use_device = regroup::UseDevice,
    .make_communicator = regroup::MakeNcclCommunicator,
};
