// The CUDA half of the trainer: a plug-in with libtorch_cuda and NCCL below it, loaded only where a job may use a GPU.
//
// So one trainer program serves machines with and without GPUs, and a machine without one needs no CUDA library.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// What the plug-in exports as "RegroupCudaPlugin".
struct CudaPlugin {
  /// GPUs that this process may use; 0 where there is no driver.
  int (*device_count)();
  /// Makes `device` the one that this process computes on.
  void (*use_device)(int device);
  /// A communicator for tensors on the GPU. `host` serves tensors on the CPU and carries NCCL's id; it is taken over.
  /// Null and a message in `error` on failure.
  Communicator* (*make_communicator)(Communicator* host, int device, std::string& error);
};

/// NOT_FOUND if this build or this machine has no CUDA: the message says what is missing. Loads once.
absl::StatusOr<const CudaPlugin*> LoadCudaPlugin();

}  // namespace regroup
