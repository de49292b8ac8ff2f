// Checks that the ranks of a gang compute and communicate correctly, before they are given work.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// How fast the ranks summed a tensor.
struct GangCheck {
  /// Bytes of the tensor.
  int64_t bytes = 0;
  /// Seconds of the second of two sums: the first sets up connections.
  double seconds = 0;
  /// Bytes that each rank sent in a second, by the ring model; 0 for a gang of one.
  double bytes_per_second = 0;
};

/// Multiplies two matrices of small whole numbers in float32, which holds their product exactly. UNAVAILABLE if the
/// device computes another product.
absl::Status CheckProduct(at::Device device);

/// Sums a tensor of 64 MiB over the ranks. All ranks must call it together. UNAVAILABLE names a rank that gets a wrong
/// sum.
absl::StatusOr<GangCheck> CheckSum(Communicator& communicator, at::Device device);

}  // namespace regroup
