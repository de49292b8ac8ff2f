// Returns a random order that is the same on every machine and with every library. It uses its own SplitMix64 and
// Fisher-Yates, because the standard leaves the result of std::shuffle to the implementation.
#pragma once

#include <cstdint>
#include <vector>

namespace regroup {

/// SplitMix64: state += 0x9e3779b97f4a7c15, then two xor-shift multiplications. One thread at a time.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  /// Returns a uniform number in [0, bound) without bias: the first 2^64 mod bound numbers are drawn again. bound > 0.
  uint64_t Below(uint64_t bound);

 private:
  uint64_t state_;
};

/// Returns a permutation of 0 .. count - 1: for i from count - 1 down to 1, swaps i with Below(i + 1).
std::vector<int64_t> ShuffledOrder(int64_t count, uint64_t seed);

}  // namespace regroup
