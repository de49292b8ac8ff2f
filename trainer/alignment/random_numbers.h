// A small random generator (SplitMix64 steps) whose numbers are the same with every standard library. An object belongs
// to one thread at a time.
#pragma once

#include <cstdint>

namespace regroup {

class RandomNumbers {
 public:
  explicit RandomNumbers(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }
  /// Returns a number uniform in [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  /// Returns a number uniform in 0 ... bound - 1; the bias for small bounds is below 1e-12.
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Unit() * static_cast<double>(bound)); }

 private:
  uint64_t state_;
};

}  // namespace regroup
