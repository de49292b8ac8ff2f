// Which two tokens merge into which, and how early: the heart of byte-pair encoding, as one flat hash table.
//
// Filled by one thread, then read by any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace regroup {

struct Merge {
  /// Smaller merges first.
  int32_t rank = 0;
  /// The token that the two become.
  int32_t token = 0;
};

class MergeTable {
 public:
  /// Room for `count` merges.
  explicit MergeTable(size_t count = 0);
  /// A pair that is there already takes the new merge.
  void Set(int32_t left, int32_t right, Merge merge);
  /// Null if the two do not merge.
  const Merge* Find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  size_t SlotOf(uint64_t key) const;

  std::vector<Slot> slots_;
};

}  // namespace regroup
