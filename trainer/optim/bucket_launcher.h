// Decides when a bucket of gradients may be sent during the backward pass.
//
// Buckets go in one fixed order, the same on every rank, however early a later one is complete: collectives must be the
// same calls in the same order everywhere. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace regroup {

class BucketLauncher {
 public:
  /// `gradients[i]` is the number of gradients in the bucket that is sent as the i-th; `launch` sends it.
  BucketLauncher(std::vector<int64_t> gradients, std::function<void(size_t)> launch);

  /// From now on gradients are counted.
  void Arm();
  bool armed() const { return armed_; }

  /// One of the bucket's gradients is final. Launches it and its followers as far as they are complete. Nothing while
  /// not armed.
  void NoteGradient(size_t bucket);

  /// Launches whatever is left: parameters that took no part have no gradient to wait for. Ends what Arm began; false
  /// if a gradient changed after its bucket had gone, which makes the sums wrong.
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
