#include "trainer/parallel/peak_flops.h"

#include <cstdlib>

namespace regroup {
namespace {

struct Peak {
  /// A part of the device name that the driver reports; the first match is used.
  std::string_view part;
  double bfloat16;
};

constexpr Peak kPeaks[] = {
    {"B200", 2250e12}, {"H200", 989e12}, {"H100 PCIe", 756e12}, {"H100 NVL", 835e12}, {"H100", 989e12},
    {"A100", 312e12},  {"L40S", 362e12}, {"A10G", 70e12},       {"A10", 125e12},
};

}  // namespace

std::optional<double> PeakFlopsPerSecond(std::string_view device_name, at::ScalarType type) {
  if (const char* stated = std::getenv("REGROUP_PEAK_FLOPS")) {
    const double peak = std::atof(stated);
    if (peak > 0) return peak;
  }
  if (type != at::kBFloat16) return std::nullopt;
  for (const Peak& peak : kPeaks) {
    if (device_name.find(peak.part) != std::string_view::npos) return peak.bfloat16;
  }
  return std::nullopt;
}

}  // namespace regroup
