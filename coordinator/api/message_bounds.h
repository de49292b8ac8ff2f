// Bounds of every string and list that a worker sends. A field without a bound of its own has the default of its type,
// so that none is ever unbounded. Pure functions, for any thread.
#pragma once

#include <google/protobuf/message.h>

#include "absl/status/status.h"

namespace regroup {

/// Most slots of a worker, and most attempts that it lists: it may list some that have ended and are not yet reported.
inline constexpr int kMostSlots = 1024;
inline constexpr int kMostRunning = 4 * kMostSlots;

/// Returns OK if every string and list of the message is within its bound; INVALID_ARGUMENT (INVALID_FIELD) names the
/// first ten that are not, for example "reports[0].logs[3].message".
absl::Status CheckBounds(const google::protobuf::Message& message);

}  // namespace regroup
