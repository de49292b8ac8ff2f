// Chooses the device on which a rank computes, and joins the communicator of its gang.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"
#include "trainer/parallel/cuda_plugin.h"

namespace regroup {

/// `wanted` is auto, cpu or cuda. auto takes a GPU if there is one and this build can use it; ranks on one machine take
/// one each. FAILED_PRECONDITION if cuda is wanted but not available, if there is a GPU that CUDA cannot use, or if
/// there are fewer GPUs than ranks: the message says why.
absl::StatusOr<at::Device> ChooseDevice(const std::string& wanted);

/// Returns the bytes of memory of this process's GPU `device`; nullopt if there is none.
std::optional<int64_t> GpuMemoryBytes(int device = 0);

/// Checks that other programs hold little of a GPU's memory; OK for a CPU. UNAVAILABLE says how much they hold.
absl::Status CheckFreeMemory(at::Device device);

/// Returns the index of a rank's GPU among the `gpus` that CUDA finds; ranks do not share one, because each would find
/// less memory than planned. FAILED_PRECONDITION if there are too few.
absl::StatusOr<int> GpuOfRank(int local_rank, int gpus);

/// Checks that all ranks compute on GPUs or all on CPUs. All must call it. FAILED_PRECONDITION names the ranks of each
/// kind.
absl::Status AgreeOnDevice(Communicator& host, at::Device device);

/// Returns the communicator of the processes that mpirun started together, with NCCL for tensors on GPUs; without
/// mpirun, that of this process alone. All ranks must call it. UNAVAILABLE if NCCL cannot connect; FAILED_PRECONDITION
/// if some ranks have a GPU and others none. After an error the process has to exit without ending MPI.
absl::StatusOr<std::unique_ptr<Communicator>> JoinGang(at::Device device, LostGpu lost);

/// For programs that need not report why: prints the status and aborts.
[[noreturn]] void AbortWith(const absl::Status& status);

}  // namespace regroup
