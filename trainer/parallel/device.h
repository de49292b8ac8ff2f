// Chooses the device on which a rank computes, and joins the communicator of its gang.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// `wanted` is auto, cpu or cuda. auto takes a GPU if there is one; ranks on one machine take one each.
/// FAILED_PRECONDITION if cuda is wanted but not available: the message says why.
absl::StatusOr<at::Device> ChooseDevice(const std::string& wanted);

/// Returns the communicator of the processes that mpirun started together, with NCCL for tensors on GPUs; without
/// mpirun, that of this process alone. All ranks must call it. UNAVAILABLE if NCCL cannot connect.
absl::StatusOr<std::unique_ptr<Communicator>> JoinGang(at::Device device);

}  // namespace regroup
