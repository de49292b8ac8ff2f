#include "services/worker/attempt/slot_pool.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <utility>

namespace regroup {

SlotPool::SlotPool(int slots, std::vector<std::string> devices)
    : devices_(std::move(devices)), taken_(static_cast<size_t>(slots), false) {}

int SlotPool::free_slots() const { return static_cast<int>(std::count(taken_.begin(), taken_.end(), false)); }

std::vector<int> SlotPool::Take(int count) {
  std::vector<int> slots;
  for (size_t slot = 0; slot < taken_.size() && static_cast<int>(slots.size()) < count; ++slot) {
    if (taken_[slot]) continue;
    taken_[slot] = true;
    slots.push_back(static_cast<int>(slot));
  }
  return slots;
}

void SlotPool::Release(const std::vector<int>& slots) {
  for (const int slot : slots) taken_[static_cast<size_t>(slot)] = false;
}

std::string SlotPool::VisibleDevices(const std::vector<int>& slots) const {
  if (devices_.empty()) return "";
  std::set<size_t> chosen;
  for (const int slot : slots) chosen.insert(static_cast<size_t>(slot) % devices_.size());
  std::string text;
  for (const size_t device : chosen) text += (text.empty() ? "" : ",") + devices_[device];
  return text;
}

}  // namespace regroup
