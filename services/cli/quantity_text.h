// Formats rates and times for the terminal, in addition to the numbers of number_text.h. Pure functions.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "services/common/base/number_text.h"  // IWYU pragma: export

namespace regroup {

/// "812", "1.2k", "34.6M": at most five characters for counts and rates.
std::string ShortCountText(double value);

/// Returns the seconds since 1970.
double SecondsOf(const google::protobuf::Timestamp& time);

/// Returns the local time, "2026-11-03 14:05:09"; empty for an unset timestamp.
std::string TimeText(const google::protobuf::Timestamp& time);

}  // namespace regroup
