// Numbers as people read them, the same on the terminal and in the report. Pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace regroup {

/// "512 B", "6.0 KiB", "13.1 GiB".
std::string BytesText(double bytes);

/// "1,234,567".
std::string GroupedText(int64_t value);

}  // namespace regroup
