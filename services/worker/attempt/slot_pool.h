// Tracks which slots of a worker are taken, and which GPU each slot uses. Not thread-safe.
#pragma once

#include <string>
#include <vector>

namespace regroup {

class SlotPool {
 public:
  /// `devices` are the GPUs' names as CUDA_VISIBLE_DEVICES writes them; empty on CPU. Slot i uses device i modulo their
  /// number.
  SlotPool(int slots, std::vector<std::string> devices);

  int free_slots() const;

  /// Takes the `count` lowest free slots, or as many as there are.
  std::vector<int> Take(int count);
  void Release(const std::vector<int>& slots);

  /// Returns CUDA_VISIBLE_DEVICES for these slots: each device once, "" on CPU.
  std::string VisibleDevices(const std::vector<int>& slots) const;

 private:
  const std::vector<std::string> devices_;
  std::vector<bool> taken_;
};

}  // namespace regroup
