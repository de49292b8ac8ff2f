// Counts values by buckets for TensorBoard. Pure function, for any thread.
#pragma once

#include <span>

#include "trainer/event_files/event.pb.h"

namespace regroup {

/// Returns 30 buckets of equal width from the smallest to the largest value, or one if all values are equal, or none
/// without values. A value on the border of two buckets is in the upper one. Values that are not finite are left out.
tensorboard::HistogramProto CountByBuckets(std::span<const double> values);

}  // namespace regroup
