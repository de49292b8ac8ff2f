// Formats numbers for people, equally on the terminal and in the report. Pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace regroup {

/// "512 B", "6.0 KiB", "13.1 GiB".
std::string BytesText(double bytes);

/// "1,234,567".
std::string GroupedText(int64_t value);

/// Returns four significant digits, three below one: "33.61", "188.0", "0.568". Whole numbers are grouped, "12,345";
/// very large or very small ones have an exponent, "1.23e-06"; infinite or undefined ones are "not a number".
std::string FigureText(double value);

/// "0.4 s", "12 s", "3:05", "1:02:03"; a negative duration counts as zero.
std::string DurationText(double seconds);

}  // namespace regroup
