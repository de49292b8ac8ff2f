// Keeps count of the slots of a worker that are taken, and of the GPUs behind them. Not thread-safe.
#pragma once

#include <string>
#include <vector>

namespace regroup {

class SlotPool {
 public:
  /// `devices` are the GPUs' names as CUDA_VISIBLE_DEVICES writes them; empty on CPU. Slot i computes on device i
  /// modulo their number.
  SlotPool(int slots, std::vector<std::string> devices);

  int free_slots() const;

  /// Takes the `count` lowest free slots, or as many as there are.
  std::vector<int> Take(int count);
  void Release(const std::vector<int>& slots);

  /// CUDA_VISIBLE_DEVICES for these slots: each device once, "" on CPU.
  std::string VisibleDevices(const std::vector<int>& slots) const;

 private:
  const std::vector<std::string> devices_;
  std::vector<bool> taken_;
};

}  // namespace regroup
