#include "services/worker/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "services/common/base/paths.h"

namespace regroup {
namespace {

constexpr const char* kFirstGpu = "/dev/nvidia0";

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// Counts the device files nvidia0, nvidia1, ...; nvidiactl and other files in the same folder do not count.
int CountGpus() {
  int count = 0;
  while (Exists("/dev/nvidia" + std::to_string(count))) ++count;
  return count;
}

}  // namespace

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string DetectDevice() {
  std::error_code error;
  return std::filesystem::exists(kFirstGpu, error) ? "cuda" : "cpu";
}

std::vector<std::string> UsableGpus(const std::string& device) {
  if (device != "cuda") return {};
  if (const char* chosen = std::getenv("CUDA_VISIBLE_DEVICES"); chosen != nullptr) return Split(chosen);
  std::vector<std::string> gpus;
  for (int gpu = 0; gpu < std::max(1, CountGpus()); ++gpu) gpus.push_back(std::to_string(gpu));
  return gpus;
}

std::string DeviceName(const std::string& device) {
  const bool cuda = device == "cuda";
  const std::string name = cuda ? GpuName() : ProcessorName();
  if (!name.empty()) return name;
  return cuda ? "NVIDIA GPU" : "CPU";
}

}  // namespace regroup
