#include "coordinator/core/clocks.h"

#include <time.h>

#include <string>

#include "services/common/base/files.h"

namespace regroup {

std::function<Time()> SteadyWallClock() {
  const Time wall = std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  const auto steady = std::chrono::steady_clock::now();
  return
      [wall, steady] { return wall + std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - steady); };
}

BootTime ReadBootClock() {
  static const std::string boot = [] {
    const absl::StatusOr<std::string> text = ReadFile("/proc/sys/kernel/random/boot_id");
    return text.ok() ? text->substr(0, text->find('\n')) : "";
  }();
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return {boot, std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec / 1000)};
}

Clocks SystemClocks() { return {SteadyWallClock(), ReadBootClock}; }

}  // namespace regroup
