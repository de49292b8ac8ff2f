#include "services/cli/quantity_text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <ctime>

namespace regroup {

std::string ShortCountText(double value) {
  static constexpr std::array<const char*, 7> units = {"", "k", "M", "G", "T", "P", "E"};
  size_t unit = 0;
  for (; std::abs(value) >= 999.5 && unit + 1 < units.size(); ++unit) value /= 1000;
  const bool fraction = unit > 0 && std::abs(value) < 99.95;
  return fmt::format("{:.{}f}{}", value, fraction ? 1 : 0, units[unit]);
}

double SecondsOf(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + 1e-9 * time.nanos();
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "";
  const auto seconds = static_cast<std::time_t>(time.seconds());
  std::tm local{};
  localtime_r(&seconds, &local);
  std::array<char, 32> text{};
  return std::string(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local));
}

}  // namespace regroup
