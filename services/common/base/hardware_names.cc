#include "services/common/base/hardware_names.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace regroup {
namespace {

/// Returns the text after "key   : " on the first line that starts with `key`.
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

}  // namespace

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

std::string ProcessorName() { return FieldOf("/proc/cpuinfo", "model name"); }

std::string GpuName() {
  std::error_code error;
  for (std::filesystem::directory_iterator gpu("/proc/driver/nvidia/gpus", error), end; !error && gpu != end;
       gpu.increment(error)) {
    if (std::string name = FieldOf(gpu->path() / "information", "Model"); !name.empty()) return name;
  }
  return "";
}

}  // namespace regroup
