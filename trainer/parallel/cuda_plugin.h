// Loads the CUDA half of the trainer: a plug-in that links libtorch_cuda and NCCL, loaded only if a job may use a GPU.
//
// One trainer program thus serves machines with and without GPUs, and a machine without a GPU needs no CUDA library.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// Called at most once, from any thread, when the GPU or a connection of this rank has failed: it ends the process,
/// since the thread that computes may wait for the GPU forever.
using LostGpu = std::function<void(const absl::Status& status)>;

/// The functions that the plug-in exports as "RegroupCudaPlugin".
struct CudaPlugin {
  /// Returns the number of GPUs that this process may use. If there is none, sets `why`: the driver is too old, for
  /// example.
  int (*device_count)(std::string& why);
  /// Returns the bytes of memory of a GPU.
  int64_t (*memory_bytes)(int device);
  /// Returns the bytes of it that no program holds.
  int64_t (*free_memory_bytes)(int device);
  /// Makes this process compute on `device`.
  void (*use_device)(int device);
  /// Returns a communicator for tensors on the GPU. `host` handles tensors on the CPU and transfers NCCL's id;
  /// ownership passes to the result. On failure returns null and sets `error`; `host` is then left as it is, and the
  /// process has to exit without ending MPI.
  Communicator* (*make_communicator)(Communicator* host, int device, LostGpu lost, std::string& error);
};

/// NOT_FOUND if this build or this machine does not support CUDA: the message says what is missing. Loads once.
absl::StatusOr<const CudaPlugin*> LoadCudaPlugin();

}  // namespace regroup
