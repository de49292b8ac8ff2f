// Records what this rank is doing, for the watchdog: if the rank hangs, the worker can report where.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace regroup {

/// Written by the computing thread and by the one that watches its GPU, read by the reporting thread.
class ActivityBoard {
 public:
  struct Snapshot {
    int64_t step = 0;
    std::string phase;
    /// The collective that the computing thread waits in, and the one that its GPU is in.
    std::string collective;
    std::string gpu_collective;
    int64_t ticks = 0;
    std::string background;
  };

  /// Counts any completed work as a tick.
  void Tick() {
    Change([](Snapshot&) {});
  }
  void SetStep(int64_t step) {
    Change([&](Snapshot& now) { now.step = step; });
  }
  void SetPhase(std::string phase) {
    Change([&](Snapshot& now) { now.phase = std::move(phase); });
  }
  /// Set to empty when the collective is over.
  void SetCollective(std::string collective) {
    Change([&](Snapshot& now) { now.collective = std::move(collective); });
  }
  /// The same for the GPU, which works on what the computing thread has queued and gone on from.
  void SetGpuCollective(std::string collective) {
    Change([&](Snapshot& now) { now.gpu_collective = std::move(collective); });
  }
  /// Describes the work of another thread of this rank as a clause: "the checkpoint of step 4 is written". Set to empty
  /// when it is done.
  void SetBackground(std::string clause) {
    Change([&](Snapshot& now) { now.background = std::move(clause); });
  }
  Snapshot Read() const {
    std::lock_guard lock(mutex_);
    return now_;
  }

 private:
  template <typename Edit>
  void Change(Edit edit) {
    std::lock_guard lock(mutex_);
    edit(now_);
    ++now_.ticks;
  }

  mutable std::mutex mutex_;
  Snapshot now_;
};

}  // namespace regroup
