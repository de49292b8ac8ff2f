// Fills in the defaults that job.proto documents. Pure.
#pragma once

#include "regroup/v1/job.pb.h"

namespace regroup {

/// Returns the job with every default filled in; the user's values stay. Resolving twice changes nothing.
///
/// Left unset on purpose:
/// - sequence_length, where the default depends on the model: the trainer takes min(2048, its maximum);
/// - alignment.restore_norm in a sweep over alignment methods, where the default differs by arm: true for principal,
///   false otherwise;
/// - fields without a default: target, output, sweep, gates and measurements that were not requested.
v1::JobSpec ResolveJobSpec(const v1::JobSpec& spec);

}  // namespace regroup
