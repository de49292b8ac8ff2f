#include "services/worker/machine.h"

#include <sched.h>

#include <algorithm>

#include "services/common/base/gpus.h"

namespace regroup {

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string DetectDevice() { return VisibleGpus().empty() ? "cpu" : "cuda"; }

std::vector<std::string> UsableGpus(const std::string& device) {
  if (device != "cuda") return {};
  std::vector<std::string> gpus = VisibleGpus();
  if (gpus.empty()) gpus.emplace_back("0");
  return gpus;
}

std::string DeviceName(const std::string& device) {
  const bool cuda = device == "cuda";
  const std::string name = cuda ? GpuName() : ProcessorName();
  if (!name.empty()) return name;
  return cuda ? "NVIDIA GPU" : "CPU";
}

}  // namespace regroup
