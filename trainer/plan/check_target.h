// Holds a job's target against the shape of the source.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "regroup/v1/job.pb.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Returns the numbers of KV heads that a result can have, the largest first: at most the source's, and dividing the
/// number of query heads, because every standard loader requires it; for a source with unequal layers, dividing those
/// of every layer.
std::vector<int64_t> PossibleKvHeads(const ModelConfig& config);

/// Returns INVALID_ARGUMENT for a number of KV heads that is not possible, for one that does not divide the source's if
/// layers get unequal numbers, and for target.tensor_parallel if its GPUs cannot share the heads or hold as many KV
/// heads of the result as of the source.
absl::Status CheckTarget(const v1::JobSpec& resolved, const ModelConfig& config);

/// Returns a sentence about targets for which KV heads are split into copies (split_heads.h); empty if there are none.
std::string NoteOnSplitHeads(const v1::JobSpec& resolved, const ModelConfig& config);

}  // namespace regroup
