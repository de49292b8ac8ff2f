// libcudart.so.13 on the host's memory: what libtorch_cuda needs to hold tensors, to copy them, and to order work on
// streams. A kernel's launch does nothing, so that programs on it may only copy, and call the pretended NCCL.
//
// make_stubs.py adds the functions that are not here; called, they say so and fail.
#include <cuda_runtime_api.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>

#include "tests/fake_gpu/runtime/streams.h"

namespace regroup::fake_runtime {
namespace {

constexpr size_t kTotalMemory = size_t{80} << 30;
constexpr size_t kPage = 4096;
/// If this file exists, the GPU is lost: every copy and every wait fails from then on.
constexpr char kLostVariable[] = "FAKE_CUDA_LOST_FILE";
/// If set, the driver is older than this runtime.
constexpr char kOldDriverVariable[] = "FAKE_CUDA_OLD_DRIVER";

thread_local int current_device = 0;

bool IsLost() {
  const char* const file = std::getenv(kLostVariable);
  return file != nullptr && access(file, F_OK) == 0;
}

/// The memory that was allocated, and of which kind it is.
class Ranges {
 public:
  void* Add(size_t bytes, cudaMemoryType kind) {
    void* const start =
        mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return nullptr;
    const std::lock_guard lock(mutex_);
    ranges_[static_cast<char*>(start)] = {bytes, kind};
    return start;
  }
  cudaMemoryType KindOf(const void* pointer) {
    const std::lock_guard lock(mutex_);
    const auto after = ranges_.upper_bound(static_cast<char*>(const_cast<void*>(pointer)));
    if (after == ranges_.begin()) return cudaMemoryTypeUnregistered;
    const auto& [start, range] = *std::prev(after);
    return pointer < start + range.bytes ? range.kind : cudaMemoryTypeUnregistered;
  }

 private:
  struct Range {
    size_t bytes = 0;
    cudaMemoryType kind = cudaMemoryTypeUnregistered;
  };
  std::mutex mutex_;
  std::map<char*, Range> ranges_;
};

Ranges& AllRanges() {
  static Ranges* const ranges = new Ranges;
  return *ranges;
}

Stream& StreamOf(cudaStream_t stream) {
  if (stream != nullptr) return *reinterpret_cast<Stream*>(stream);
  static auto* const mutex = new std::mutex;
  static auto* const defaults = new std::map<int, Stream*>;
  const std::lock_guard lock(*mutex);
  Stream*& found = (*defaults)[current_device];
  if (found == nullptr) found = new Stream;
  return *found;
}

Event& EventOf(cudaEvent_t event) { return *reinterpret_cast<Event*>(event); }

cudaError_t CopyLater(void* to, const void* from, size_t bytes, Stream& stream) {
  if (IsLost()) return cudaErrorECCUncorrectable;
  // As CUDA does with memory that is not pinned.
  const bool waits =
      AllRanges().KindOf(to) == cudaMemoryTypeUnregistered || AllRanges().KindOf(from) == cudaMemoryTypeUnregistered;
  stream.Queue([=] { std::memcpy(to, from, bytes); });
  if (waits) stream.Synchronize();
  return cudaSuccess;
}

}  // namespace
}  // namespace regroup::fake_runtime

using namespace regroup::fake_runtime;  // NOLINT(google-build-using-namespace): CUDA's functions are global.

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  if (std::getenv(kOldDriverVariable) != nullptr) return cudaErrorInsufficientDriver;
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  *count = visible == nullptr ? 0 : 1 + static_cast<int>(std::count(visible, visible + std::strlen(visible), ','));
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "Pretended GPU");
  properties->major = 9;
  properties->multiProcessorCount = 132;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->totalGlobalMem = kTotalMemory;
  properties->sharedMemPerBlock = 49152;
  properties->maxGridSize[0] = 1 << 30;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 0;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = std::getenv(kOldDriverVariable) != nullptr ? 12020 : 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorECCUncorrectable ? "uncorrectable ECC error encountered" : "an error of the pretended GPU";
}
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorPretended"; }

cudaError_t cudaMalloc(void** start, size_t bytes) {
  *start = AllRanges().Add(bytes, cudaMemoryTypeDevice);
  return *start != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
// Memory is kept until the end, so that late work does not fault.
cudaError_t cudaFree(void*) { return cudaSuccess; }
cudaError_t cudaHostAlloc(void** start, size_t bytes, unsigned) {
  *start = AllRanges().Add(bytes, cudaMemoryTypeHost);
  return *start != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void*) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = kTotalMemory;
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  std::memset(attributes, 0, sizeof *attributes);
  attributes->type = AllRanges().KindOf(pointer);
  attributes->devicePointer = attributes->hostPointer = const_cast<void*>(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return CopyLater(to, from, bytes, StreamOf(stream));
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  const cudaError_t error = CopyLater(to, from, bytes, StreamOf(nullptr));
  StreamOf(nullptr).Synchronize();
  return error;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  StreamOf(stream).Queue([=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = reinterpret_cast<cudaStream_t>(new Stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (IsLost()) return cudaErrorECCUncorrectable;
  StreamOf(stream).Synchronize();
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return StreamOf(stream).IsIdle() ? cudaSuccess : cudaErrorNotReady; }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  EventOf(event).MakeWait(StreamOf(stream));
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t*, const cudaGraphNode_t**, const cudaGraphEdgeData**, size_t*) {
  *status = cudaStreamCaptureStatusNone;
  if (id != nullptr) *id = 0;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}
// Work that is queued may still refer to it.
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  EventOf(event).Record(StreamOf(stream));
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  return cudaEventRecord(event, stream);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (IsLost()) return cudaErrorECCUncorrectable;
  return EventOf(event).IsDone() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  EventOf(event).Synchronize();
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = static_cast<float>((EventOf(end).Reached() - EventOf(start).Reached()) * 1e3);
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t) { return cudaSuccess; }
// libtorch_cuda registers its kernels when it is loaded.
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*, void*, int*) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

/// For the pretended NCCL, which queues its collectives.
void FakeCudaQueue(cudaStream_t stream, std::function<void()>* work) {
  StreamOf(stream).Queue([work] {
    (*work)();
    delete work;
  });
}

}  // extern "C"
