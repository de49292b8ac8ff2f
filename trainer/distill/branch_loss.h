// Loss on the outputs of the attention layers: how far what each of the student's layers adds to its residual stream is
// from what the teacher's layer adds to the teacher's.
//
//   loss = weight * sum over layers and windows of  mean_t |a'_t - a_t|^2 / mean_t |a_t - mean a|^2,   a teacher
//
// The denominator is the variance within the window, so that a step does not depend on how its windows are divided into
// micro-batches. Gradients reach the student only.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace regroup {

/// Both hold one tensor [B, T, D] for each layer; T may differ between layers. `weight` is usually a factor divided by
/// the windows of the global batch. Windows in which the teacher's layer adds the same everywhere are left out.
at::Tensor BranchLoss(const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& teacher, double weight);

}  // namespace regroup
