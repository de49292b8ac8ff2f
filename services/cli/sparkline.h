// Draws a series of numbers as a line of characters. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace regroup {

/// Returns one character per column, at most `width`, whose height shows the value between the series' lowest and
/// highest; a longer series is averaged. Numbers that are not finite are left out. Eight heights with Unicode, else six
/// characters of ASCII.
std::string Sparkline(const std::vector<double>& values, size_t width, bool unicode);

}  // namespace regroup
