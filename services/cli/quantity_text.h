// Numbers as a person reads them. Pure functions.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "services/common/base/number_text.h"  // IWYU pragma: export

namespace regroup {

/// "0.4 s", "12 s", "3:05", "1:02:03".
std::string DurationText(double seconds);

/// "812", "1.2k", "34.6M": at most five characters for counts and rates.
std::string ShortCountText(double value);

/// Three digits that matter: "33.61", "188.0", "0.00012".
std::string FigureText(double value);

/// Seconds since 1970 of a timestamp.
double SecondsOf(const google::protobuf::Timestamp& time);

/// Local time, "2026-11-03 14:05:09"; empty for an unset timestamp.
std::string TimeText(const google::protobuf::Timestamp& time);

}  // namespace regroup
