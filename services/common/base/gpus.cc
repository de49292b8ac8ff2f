#include "services/common/base/gpus.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string_view>

#include "services/common/base/paths.h"

namespace regroup {
namespace {

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

/// Counts the files nvidia0, nvidia1, ...; nvidiactl, nvidia-uvm and others do not count.
int CountGpus(const std::filesystem::path& devices) {
  constexpr std::string_view kPrefix = "nvidia";
  int count = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator file(devices, error), end; !error && file != end; file.increment(error)) {
    const std::string name = file->path().filename().string();
    if (name.starts_with(kPrefix) && AllDigits(std::string_view(name).substr(kPrefix.size()))) ++count;
  }
  return count == 0 && Exists(devices / "dxg") ? 1 : count;
}

/// Returns true for the index of one of `count` GPUs and for a name such as GPU-8932f937; whether that exists, only the
/// driver knows.
bool NamesGpu(const std::string& entry, int count) {
  if (!AllDigits(entry)) return entry.starts_with("GPU-") || entry.starts_with("MIG-");
  int index = 0;
  const auto [stop, error] = std::from_chars(entry.data(), entry.data() + entry.size(), index);
  return error == std::errc() && stop == entry.data() + entry.size() && index < count;
}

}  // namespace

std::vector<std::string> VisibleGpus(const char* chosen, const std::filesystem::path& devices) {
  const int count = CountGpus(devices);
  std::vector<std::string> gpus;
  if (chosen == nullptr) {
    for (int gpu = 0; gpu < count; ++gpu) gpus.push_back(std::to_string(gpu));
    return gpus;
  }
  std::istringstream entries(chosen);
  for (std::string entry; std::getline(entries, entry, ',');) {
    entry = Trimmed(entry);
    if (!NamesGpu(entry, count)) break;
    if (std::find(gpus.begin(), gpus.end(), entry) != gpus.end()) return {};
    gpus.push_back(entry);
  }
  return gpus;
}

std::vector<std::string> VisibleGpus() { return VisibleGpus(std::getenv("CUDA_VISIBLE_DEVICES")); }

}  // namespace regroup
