#include "trainer/data/tokenizer/merge_table.h"

#include <bit>

namespace regroup {
namespace {

// Ids are not negative, so no key equals kEmpty.
uint64_t KeyOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(size_t count) : slots_(std::bit_ceil(count * 2 + 2)) {}

/// Linear probing from a multiplicative hash; at most half of the slots are taken.
size_t MergeTable::SlotOf(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = (key * 0x9e3779b97f4a7c15u >> 32) & mask;
  while (slots_[slot].key != key && slots_[slot].key != kEmpty) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::Set(int32_t left, int32_t right, Merge merge) {
  Slot& slot = slots_[SlotOf(KeyOf(left, right))];
  slot.key = KeyOf(left, right);
  slot.merge = merge;
}

const Merge* MergeTable::Find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[SlotOf(KeyOf(left, right))];
  return slot.key == kEmpty ? nullptr : &slot.merge;
}

}  // namespace regroup
