#include "services/cli/sparkline.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <string_view>

namespace regroup {
namespace {

constexpr std::string_view kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::string_view kCharacters[] = {"_", ".", "-", "=", "*", "#"};

/// Returns the means of `width` parts of equal length, or the values themselves if they are not more.
std::vector<double> Averaged(const std::vector<double>& values, size_t width) {
  if (values.size() <= width) return values;
  std::vector<double> means;
  for (size_t i = 0; i < width; ++i) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i * values.size() / width);
    const auto end = values.begin() + static_cast<std::ptrdiff_t>((i + 1) * values.size() / width);
    means.push_back(std::accumulate(begin, end, 0.0) / static_cast<double>(end - begin));
  }
  return means;
}

}  // namespace

std::string Sparkline(const std::vector<double>& values, size_t width, bool unicode) {
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
               [](double value) { return std::isfinite(value); });
  if (finite.empty() || width == 0) return "";
  const std::vector<double> columns = Averaged(finite, width);
  const auto [lowest, highest] = std::minmax_element(columns.begin(), columns.end());
  const double range = *highest - *lowest;
  const size_t heights = unicode ? std::size(kBlocks) : std::size(kCharacters);
  std::string line;
  for (const double value : columns) {
    const double share = range > 0 ? (value - *lowest) / range : 0;
    const auto height = std::min(heights - 1, static_cast<size_t>(share * static_cast<double>(heights)));
    line += unicode ? kBlocks[height] : kCharacters[height];
  }
  return line;
}

}  // namespace regroup
