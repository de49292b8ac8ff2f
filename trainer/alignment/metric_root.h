// Computes square roots of the metrics in which merging errors are measured. Pure; may be called from any thread.
#pragma once

#include <ATen/core/Tensor.h>

namespace regroup {

struct MetricRoot {
  at::Tensor root;     // S [n, w, w], symmetric, S S = metric
  at::Tensor inverse;  // S^-1
};

/// Returns the roots of symmetric positive semi-definite metrics [n, w, w]. Eigenvalues are floored at 1e-6 of the
/// matrix's largest and 1e-12 of the largest of all n, so that the inverse exists even where an output projection is
/// singular or zero; if all metrics are zero each is taken as the identity.
MetricRoot RootOfMetric(const at::Tensor& metric);

/// Returns M [n * w, n * w] with blocks S_i G_ij S_j, from G [n, w, n, w], symmetrised.
at::Tensor WeightedGram(const at::Tensor& gram, const at::Tensor& roots);

}  // namespace regroup
