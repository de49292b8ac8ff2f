// Fills in the defaults that job.proto documents. Pure.
#pragma once

#include "regroup/v1/job.pb.h"

namespace regroup {

/// The job with every default written out; what the user wrote stays. Resolving twice changes nothing.
///
/// Left unset on purpose:
/// - sequence_length, where the default depends on the model: the trainer takes min(2048, its maximum);
/// - alignment.restore_norm in a sweep over alignment methods, where the default differs by arm: true for principal,
///   false otherwise;
/// - what has no default: target, output, sweep, gates and the measurements that were not asked for.
v1::JobSpec ResolveJobSpec(const v1::JobSpec& spec);

}  // namespace regroup
