#include "services/worker/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace regroup {
namespace {

constexpr const char* kFirstGpu = "/dev/nvidia0";

/// The text after "key   : " on the first line that starts with `key`.
std::string FieldOf(const std::filesystem::path& file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// Device files are nvidia0, nvidia1, ...; nvidiactl and others stand beside them.
int CountGpus() {
  int count = 0;
  while (std::filesystem::exists("/dev/nvidia" + std::to_string(count))) ++count;
  return count;
}

std::string GpuName() {
  std::error_code error;
  for (std::filesystem::directory_iterator gpu("/proc/driver/nvidia/gpus", error), end; !error && gpu != end;
       gpu.increment(error)) {
    if (std::string name = FieldOf(gpu->path() / "information", "Model"); !name.empty()) return name;
  }
  return "NVIDIA GPU";
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
  if (device == "cuda") return GpuName();
  const std::string name = FieldOf("/proc/cpuinfo", "model name");
  return name.empty() ? "CPU" : name;
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

}  // namespace regroup
