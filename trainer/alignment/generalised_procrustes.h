// Generalised Procrustes analysis from Grams finds one orthogonal map (or phase) per head, such that a group's heads
// come as close together as they can (Gower; README.md, "Merging a group").
//
// Both functions maximise sum_{i<j} <aligned head i, aligned head j> by cyclic updates: head i takes the map that is
// best against all others. Two starts are tried, every head aligned to the first one (the paper's) and the leading
// eigenvectors of the Gram; the one that leads once sweeps gain less than 1e-4 is finished.
//
// Rotations gain ever less in directions with hardly any energy, for hundreds of sweeps. They end when a sweep gains
// less than 1e-5 of the objective; the paper's own rule stops 1e-4 below the optimum. Phases, which cost next to
// nothing, end at 1e-9. Two heads need one decomposition only.
//
// The functions are pure and may be called from any thread; inside ParallelTasks they run on that thread alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

struct ProcrustesMaps {
  /// Orthogonal maps [s, w, w], or complex numbers of modulus 1 [s, pairs].
  at::Tensor maps;
  /// The sum over i < j of the aligned inner products.
  double objective = 0;
  int64_t sweeps = 0;
};

/// Aligns values, or key coordinates without rotation. `gram` is [s, w, s, w] with G_ij = E a_i^T a_j; the objective is
/// sum_{i<j} tr(Q_i^T G_ij Q_j).
ProcrustesMaps AlignByRotations(const at::Tensor& gram);

/// Aligns rotary pairs. `gram` is complex [pairs, s, s] with G_ij = E conj(z_i) z_j. Pairs are independent; the
/// objective is the sum over them of Re sum_{i<j} conj(c_i) G_ij c_j.
ProcrustesMaps AlignByPhases(const at::Tensor& gram);

}  // namespace regroup
