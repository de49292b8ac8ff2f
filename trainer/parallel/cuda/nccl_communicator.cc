// The module libregroup_cuda.so: implements collectives between GPUs with NCCL.
//
// Work is queued on the current stream and runs in its order; only Barrier waits for the GPU. A side lane is another
// stream. Tensors on the CPU (counters, digests) go through the host communicator. A thread asks NCCL ten times a
// second whether a connection was lost, of which the ranks that wait on their GPUs learn nothing.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>
#include <nccl.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "services/common/base/machine_errors.h"
#include "services/common/base/status_macros.h"
#include "trainer/parallel/cuda/collective_clock.h"
#include "trainer/parallel/cuda_plugin.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kLookEvery(100);
constexpr size_t kLongestReason = 400;

absl::Status ToStatus(ncclResult_t result, const char* operation, ncclComm_t nccl) {
  if (result == ncclSuccess) return absl::OkStatus();
  const char* const detail = ncclGetLastError(nccl);
  return absl::UnavailableError(fmt::format("{}: {}{}{}", operation, ncclGetErrorString(result),
                                            detail == nullptr || *detail == '\0' ? "" : ": ",
                                            detail == nullptr ? "" : detail));
}

absl::StatusOr<ncclDataType_t> TypeOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
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
      return absl::InternalError(fmt::format("NCCL cannot transfer {}", c10::toString(tensor.scalar_type())));
  }
}

c10::Stream CurrentStream() { return at::cuda::getCurrentCUDAStream().unwrap(); }

/// Calls queue their work on a stream that waits for the caller's, and Finish makes the caller's stream wait for it.
class StreamLane final : public SideLane {
 public:
  explicit StreamLane(CollectiveClock& clock) : clock_(clock) {}
  ~StreamLane() override {
    try {
      stream_.synchronize();
    } catch (const std::exception&) {
      // The GPU has failed, which whatever used the lane's results has been told.
    }
  }

  void Launch(std::function<absl::Status()> call) override {
    if (!status_.ok()) return;
    computed_.record(CurrentStream());
    computed_.block(stream_);
    const c10::StreamGuard guard(stream_);
    status_ = call();
  }

  int64_t Mark() override {
    marks_.emplace_back(c10::DeviceType::CUDA).record(stream_);
    return ++last_mark_;
  }

  void WaitFor(int64_t mark) override {
    // Marks are waited for in order, so that those in front of it are not needed any more.
    const auto first = [this] { return last_mark_ - static_cast<int64_t>(marks_.size()) + 1; };
    while (!marks_.empty() && first() < mark) marks_.pop_front();
    // The stream has waited for a later mark, or for everything in Finish.
    if (marks_.empty() || first() > mark) return;
    clock_.Time(CurrentStream(), "fetched weights", [&] {
      marks_.front().block(CurrentStream());
      return true;
    });
    marks_.pop_front();
  }

  absl::Status Finish() override {
    marks_.clear();
    done_.record(stream_);
    return clock_.Time(CurrentStream(), "overlapped sums", [&] {
      done_.block(CurrentStream());
      return status_;
    });
  }

 private:
  CollectiveClock& clock_;
  // libc10's own stream, which calls the CUDA runtime on our behalf: this module is not linked with it.
  const c10::Stream stream_ = c10::cuda::getStreamFromPool(/*isHighPriority=*/true).unwrap();
  c10::Event computed_{c10::DeviceType::CUDA}, done_{c10::DeviceType::CUDA};
  /// The events of the last marks that have not been waited for.
  std::deque<c10::Event> marks_;
  int64_t last_mark_ = 0;
  absl::Status status_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, ncclComm_t nccl, int device, LostGpu lost)
      : host_(std::move(host)), nccl_(nccl), lost_(std::move(lost)), watch_([this, device] { Watch(device); }) {}

  ~NcclCommunicator() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    watch_.join();
    ncclCommDestroy(nccl_);
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  double seconds() const override { return host_->seconds() + clock_.seconds(); }
  std::unique_ptr<SideLane> MakeSideLane() override { return std::make_unique<StreamLane>(clock_); }

 private:
  static cudaStream_t Stream() { return at::cuda::getCurrentCUDAStream(); }

  /// Queues a collective; `call` gets its type.
  template <typename Call>
  absl::Status Queue(const char* operation, const at::Tensor& tensor, Call call) {
    REGROUP_ASSIGN_OR_RETURN(const ncclDataType_t type, TypeOf(tensor));
    const auto queue = [&] { return ToStatus(call(type), operation, nccl_); };
    // A side lane's calls overlap computation: what counts is how long Finish waits for them.
    if (CurrentStream() != computing_) return queue();
    return clock_.Time(computing_, fmt::format("{} #{}", operation, call_number()), queue);
  }

  absl::Status DoAllReduceSum(at::Tensor& tensor) override {
    if (tensor.is_cpu()) return host_->AllReduceSum(tensor);
    return Queue("all_reduce", tensor, [&](ncclDataType_t type) {
      return ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(), type, ncclSum, nccl_,
                           Stream());
    });
  }

  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    if (input.is_cpu()) return host_->ReduceScatterSum(input, output);
    return Queue("reduce_scatter", input, [&](ncclDataType_t type) {
      return ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), output.numel(), type, ncclSum, nccl_,
                               Stream());
    });
  }

  absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) override {
    if (input.is_cpu()) return host_->AllGather(input, output);
    return Queue("all_gather", input, [&](ncclDataType_t type) {
      return ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), input.numel(), type, nccl_, Stream());
    });
  }

  absl::Status DoBroadcast(at::Tensor& tensor, int root) override {
    if (tensor.is_cpu()) return host_->Broadcast(tensor, root);
    return Queue("broadcast", tensor, [&](ncclDataType_t type) {
      return ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(), type, root, nccl_,
                           Stream());
    });
  }

  absl::Status DoBarrier() override {
    at::cuda::getCurrentCUDAStream().synchronize();
    return host_->Barrier();
  }

  absl::Status DoRestingBarrier() override {
    at::cuda::getCurrentCUDAStream().synchronize();
    return host_->RestingBarrier();
  }

  /// Until the end: ends this process if NCCL has lost a rank, and shows which collective the GPU is in.
  void Watch(int device) {
    try {
      c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
      const absl::Status status = WatchUntilStopped();
      if (!status.ok()) lost_(status);
    } catch (const std::exception& error) {
      lost_(StatusOfException(error));
    }
  }

  absl::Status WatchUntilStopped() {
    std::string shown;
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, kLookEvery, [this] { return stopping_; })) {
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(nccl_, &state);
      REGROUP_RETURN_IF_ERROR(ToStatus(asked == ncclSuccess ? state : asked, "NCCL", nccl_));
      const std::string in_flight = clock_.Collect();
      if (in_flight != shown) ShowGpuCollective(in_flight);
      shown = in_flight;
    }
    return absl::OkStatus();
  }

  std::unique_ptr<Communicator> host_;
  ncclComm_t nccl_;
  const LostGpu lost_;
  const c10::Stream computing_ = CurrentStream();
  CollectiveClock clock_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  /// Declared last, because it uses all of the above.
  std::thread watch_;
};

int DeviceCount(std::string& why) {
  try {
    return c10::cuda::device_count_ensure_non_zero();
  } catch (const c10::Error& error) {
    why = error.what_without_backtrace();
    return 0;
  }
}

int64_t MemoryBytes(int device) {
  return static_cast<int64_t>(at::cuda::getDeviceProperties(static_cast<c10::DeviceIndex>(device))->totalGlobalMem);
}

int64_t FreeMemoryBytes(int device) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  const auto [free, all] = c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(static_cast<c10::DeviceIndex>(device));
  return static_cast<int64_t>(free);
}

void UseDevice(int device) { c10::cuda::set_device(static_cast<c10::DeviceIndex>(device)); }

/// Message of rank 0 to all: NCCL's id, or why there is none. Without it, the others would wait for an id forever.
struct Invitation {
  ncclUniqueId id;
  std::array<char, kLongestReason> failure;
};

absl::StatusOr<ncclUniqueId> ShareId(Communicator& host) {
  Invitation invitation{};
  if (host.rank() == 0) {
    const absl::Status status = ToStatus(ncclGetUniqueId(&invitation.id), "ncclGetUniqueId", nullptr);
    std::strncpy(invitation.failure.data(), std::string(status.message()).c_str(), kLongestReason - 1);
  }
  at::Tensor bytes = at::from_blob(&invitation, {static_cast<int64_t>(sizeof invitation)}, at::kByte);
  REGROUP_RETURN_IF_ERROR(host.Broadcast(bytes, 0));
  if (invitation.failure.front() != '\0') return absl::UnavailableError(invitation.failure.data());
  return invitation.id;
}

absl::StatusOr<ncclComm_t> JoinNccl(Communicator& host) {
  REGROUP_ASSIGN_OR_RETURN(const ncclUniqueId id, ShareId(host));
  ncclComm_t nccl = nullptr;
  REGROUP_RETURN_IF_ERROR(ToStatus(ncclCommInitRank(&nccl, host.size(), id, host.rank()), "ncclCommInitRank", nullptr));
  return nccl;
}

Communicator* MakeNcclCommunicator(Communicator* host, int device, LostGpu lost, std::string& error) {
  UseDevice(device);
  const absl::StatusOr<ncclComm_t> nccl = JoinNccl(*host);
  if (nccl.ok()) return new NcclCommunicator(std::unique_ptr<Communicator>(host), *nccl, device, std::move(lost));
  // The host's communicator is not destroyed: ending MPI waits for the other ranks, and they may wait for this one in
  // NCCL.
  error = std::string(nccl.status().message());
  return nullptr;
}

}  // namespace
}  // namespace regroup

extern "C" const regroup::CudaPlugin RegroupCudaPlugin = {
    .device_count = regroup::DeviceCount,
    .memory_bytes = regroup::MemoryBytes,
    .free_memory_bytes = regroup::FreeMemoryBytes,
    .use_device = regroup::UseDevice,
    .make_communicator = regroup::MakeNcclCommunicator,
};
