// Decides when a bucket of gradients may be sent during the backward pass.
//
// Buckets are sent in one fixed order, the same on every rank, even if a later one is complete earlier: every rank must
// make the same collective calls in the same order. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace regroup {

class BucketLauncher {
 public:
  /// `gradients[i]` is the number of gradients in the i-th bucket to be sent; `launch` sends a bucket.
  BucketLauncher(std::vector<int64_t> gradients, std::function<void(size_t)> launch);

  /// Starts to count gradients.
  void Arm();
  bool armed() const { return armed_; }

  /// Records that one of the bucket's gradients is final, and launches all complete buckets that are next in order.
  /// Does nothing while not armed.
  void NoteGradient(size_t bucket);

  /// Launches the remaining buckets: unused parameters have no gradient to wait for. Disarms the launcher. Returns
  /// false if a gradient changed after its bucket was sent, which makes the sums wrong.
  bool LaunchRest();

 private:
  const std::vector<int64_t> gradients_;
  const std::function<void(size_t)> launch_;
  std::vector<int64_t> missing_;
  size_t next_ = 0;
  bool armed_ = false;
  bool was_late_ = false;
};

}  // namespace regroup
