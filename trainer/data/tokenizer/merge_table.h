// Stores which two tokens merge into which token, and with which rank, as one flat hash table for byte-pair encoding.
//
// Filled by one thread, then read by any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace regroup {

struct Merge {
  /// Pairs with a smaller rank merge first.
  int32_t rank = 0;
  /// The token that the pair becomes.
  int32_t token = 0;
};

class MergeTable {
 public:
  /// Reserves space for `count` merges.
  explicit MergeTable(size_t count = 0);
  /// Sets the merge of a pair, replacing an earlier one.
  void Set(int32_t left, int32_t right, Merge merge);
  /// Returns null if the two do not merge.
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
