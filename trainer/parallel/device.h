// What a rank computes on, and the communicator of its gang there.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// `wanted` is auto, cpu or cuda. auto takes a GPU where there is one; ranks on one machine take one each.
/// FAILED_PRECONDITION where cuda is wanted and cannot be had: the message says why.
absl::StatusOr<at::Device> ChooseDevice(const std::string& wanted);

/// Of the processes that mpirun started together, over NCCL for tensors on GPUs; of this one alone without mpirun. All
/// ranks call it. UNAVAILABLE if NCCL cannot connect.
absl::StatusOr<std::unique_ptr<Communicator>> JoinGang(at::Device device);

}  // namespace regroup
