// libnccl.so.2 between processes of one machine: a collective is work on its stream, and goes through shared memory.
// Ranks that call different collectives, or with other counts or types, abort with a message instead of hanging.
#include <fcntl.h>
#include <nccl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

extern "C" void FakeCudaQueue(cudaStream_t stream, std::function<void()>* work);

namespace {

/// Largest input of a collective.
constexpr size_t kSlot = size_t{16} << 20;
constexpr size_t kHeader = 4096;

/// Failures, each by the variable that asks for it: ranks that cannot join, no id, a file that breaks connections once
/// it exists.
constexpr char kBadRankVariable[] = "FAKE_NCCL_BAD_RANK";
constexpr char kNoIdVariable[] = "FAKE_NCCL_NO_ID";
constexpr char kBrokenVariable[] = "FAKE_NCCL_BROKEN_FILE";
/// Folder for the memory that ranks share.
constexpr char kFolderVariable[] = "FAKE_NCCL_FOLDER";

/// Description of a collective; equal on all ranks. All fields have one size, so that there is no padding.
struct Call {
  int64_t operation = 0, type = 0, count = 0, root = 0;
};

struct Shared {
  std::atomic<int> arrived, generation, joined;
};

size_t BytesOf(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclFloat64:
      return 8;
    default:
      std::fprintf(stderr, "pretended NCCL: type %d\n", static_cast<int>(type));
      std::abort();
  }
}

float FloatOf(uint16_t bfloat16) {
  const uint32_t bits = static_cast<uint32_t>(bfloat16) << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint16_t RoundToBfloat16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename Number>
void AddNumbers(char* sum, const char* other, size_t count) {
  for (size_t i = 0; i < count; ++i) reinterpret_cast<Number*>(sum)[i] += reinterpret_cast<const Number*>(other)[i];
}

/// As NCCL's rings do, rounds every sum to the tensor's own type.
void Add(char* sum, const char* other, size_t count, ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
      return AddNumbers<float>(sum, other, count);
    case ncclFloat64:
      return AddNumbers<double>(sum, other, count);
    case ncclInt32:
      return AddNumbers<int32_t>(sum, other, count);
    case ncclInt64:
      return AddNumbers<int64_t>(sum, other, count);
    case ncclUint8:
      return AddNumbers<uint8_t>(sum, other, count);
    case ncclBfloat16: {
      auto* const sums = reinterpret_cast<uint16_t*>(sum);
      const auto* const others = reinterpret_cast<const uint16_t*>(other);
      for (size_t i = 0; i < count; ++i) sums[i] = RoundToBfloat16(FloatOf(sums[i]) + FloatOf(others[i]));
      return;
    }
    default:
      std::fprintf(stderr, "pretended NCCL: no sums of type %d\n", static_cast<int>(type));
      std::abort();
  }
}

bool ExistsFileOf(const char* variable) {
  const char* const file = std::getenv(variable);
  return file != nullptr && access(file, F_OK) == 0;
}

}  // namespace

struct ncclComm {
  int rank = 0, size = 1;
  char* base = nullptr;
  long calls = 0;

  char* InputOf(int other) { return base + kHeader + other * (kSlot + kHeader) + kHeader; }
  Call* CallOf(int other) { return reinterpret_cast<Call*>(InputOf(other) - kHeader); }

  void Meet() {
    auto* const shared = reinterpret_cast<Shared*>(base);
    const int generation = shared->generation;
    if (++shared->arrived == size) {
      shared->arrived = 0;
      ++shared->generation;
      return;
    }
    while (shared->generation == generation) sched_yield();
  }

  void Exchange(const Call& call, const void* input, size_t bytes) {
    if (bytes > kSlot) {
      std::fprintf(stderr, "pretended NCCL: %zu bytes are too many\n", bytes);
      std::abort();
    }
    *CallOf(rank) = call;
    std::memcpy(InputOf(rank), input, bytes);
    Meet();
    for (int other = 0; other < size; ++other) {
      if (std::memcmp(CallOf(other), &call, sizeof call) == 0) continue;
      std::fprintf(stderr, "pretended NCCL: ranks %d and %d differ in call %ld\n", rank, other, calls);
      std::abort();
    }
    ++calls;
  }
};

namespace {

ncclResult_t Queue(cudaStream_t stream, std::function<void()> work) {
  FakeCudaQueue(stream, new std::function<void()>(std::move(work)));
  return ncclSuccess;
}

/// Sums `count` entries of all inputs, from `first` on.
std::string SumOf(ncclComm& comm, size_t first, size_t count, ncclDataType_t type) {
  const size_t begin = first * BytesOf(type);
  std::string sum(comm.InputOf(0) + begin, count * BytesOf(type));
  for (int rank = 1; rank < comm.size; ++rank) Add(sum.data(), comm.InputOf(rank) + begin, count, type);
  return sum;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  if (std::getenv(kNoIdVariable) != nullptr) return ncclSystemError;
  std::memset(id, 0, sizeof *id);
  // In the test's own folder, which is removed however the ranks end.
  std::snprintf(id->internal, sizeof id->internal, "%s/nccl-XXXXXX", std::getenv(kFolderVariable));
  const int file = mkstemp(id->internal);
  if (file < 0) return ncclSystemError;
  close(file);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  const char* const bad = std::getenv(kBadRankVariable);
  if (bad != nullptr && std::atoi(bad) == rank) return ncclUnhandledCudaError;
  const size_t bytes = kHeader + static_cast<size_t>(size) * (kSlot + kHeader);
  const int file = open(id.internal, O_RDWR | O_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return ncclSystemError;
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (base == MAP_FAILED) return ncclSystemError;
  auto* const shared = static_cast<Shared*>(base);
  ++shared->joined;
  // As NCCL does, waits for all without end.
  while (shared->joined < size) usleep(1000);
  *comm = new ncclComm{.rank = rank, .size = size, .base = static_cast<char*>(base)};
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t) { return ncclSuccess; }
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = ExistsFileOf(kBrokenVariable) ? ncclRemoteError : ncclSuccess;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error" : "unhandled system error";
}
const char* ncclGetLastError(ncclComm_t) { return "the pretended NCCL was told to fail"; }

ncclResult_t ncclAllReduce(const void* input, void* output, size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream) {
  return Queue(stream, [=] {
    comm->Exchange({1, type, static_cast<int64_t>(count), 0}, input, count * BytesOf(type));
    const std::string sum = SumOf(*comm, 0, count, type);
    comm->Meet();
    std::memcpy(output, sum.data(), sum.size());
  });
}

ncclResult_t ncclReduceScatter(const void* input, void* output, size_t count, ncclDataType_t type, ncclRedOp_t,
                               ncclComm_t comm, cudaStream_t stream) {
  return Queue(stream, [=] {
    comm->Exchange({2, type, static_cast<int64_t>(count), 0}, input,
                   count * static_cast<size_t>(comm->size) * BytesOf(type));
    const std::string sum = SumOf(*comm, static_cast<size_t>(comm->rank) * count, count, type);
    comm->Meet();
    std::memcpy(output, sum.data(), sum.size());
  });
}

ncclResult_t ncclAllGather(const void* input, void* output, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return Queue(stream, [=] {
    const size_t bytes = count * BytesOf(type);
    comm->Exchange({3, type, static_cast<int64_t>(count), 0}, input, bytes);
    for (int rank = 0; rank < comm->size; ++rank) {
      std::memcpy(static_cast<char*>(output) + static_cast<size_t>(rank) * bytes, comm->InputOf(rank), bytes);
    }
    comm->Meet();
  });
}

ncclResult_t ncclBroadcast(const void* input, void* output, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return Queue(stream, [=] {
    comm->Exchange({4, type, static_cast<int64_t>(count), root}, input, count * BytesOf(type));
    std::memcpy(output, comm->InputOf(root), count * BytesOf(type));
    comm->Meet();
  });
}

}  // extern "C"
