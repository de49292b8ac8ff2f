// Aligns as the paper does (Jin et al., arXiv 2412.20677): orthogonal maps on values, rotations of rotary pairs on
// keys, then the mean.
//
// Inside a group, Q_i maximises sum_{i<j} tr(Q_i^T G_ij Q_j) (generalised_procrustes.h). Orthogonal maps leave the
// model unchanged: v_i Q_i with Q_i^T Wo_i, k_i and q_i rotated alike. The shared head is the mean of the aligned ones.
//
// As in the authors' programs, G is the Gram of unit-length heads if the similarity is `cosine`, and that of the heads
// themselves otherwise. Key coordinates without rotation, which the paper does not have, take a free rotation from
// their covariance.
//
// Averaging heads that agree only in part loses energy. With restore_norm the shared value head is scaled by one number
// to the mean energy E|v_i|^2 of its heads, the shared key likewise; queries and outputs do not change.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "trainer/alignment/generalised_procrustes.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

// Sums up energies, from which Scale computes the factor of the mean: the square root of s * sum_i E|a_i|^2 / E|sum_i
// a_i Q_i|^2.
struct Energies {
  double heads = 0;  // sum_i E|a_i|^2
  double sum = 0;    // E|sum_i a_i Q_i|^2

  void AddFree(const at::Tensor& gram, const at::Tensor& maps) {
    const int64_t rows = maps.size(0) * maps.size(1);
    if (rows == 0) return;
    const auto flat = gram.reshape({rows, rows});
    const auto stacked = maps.reshape({rows, -1});
    heads += flat.trace().item<double>();
    sum += (flat.mm(stacked) * stacked).sum().item<double>();
  }

  void AddPairs(const at::Tensor& gram, const at::Tensor& phases) {
    const auto c = phases.t().unsqueeze(2);  // [pairs, s, 1]
    heads += at::real(gram.diagonal(0, 1, 2)).sum().item<double>();
    sum += at::real(c.conj().transpose(1, 2).matmul(gram).matmul(c)).sum().item<double>();
  }

  double Scale(double count) const { return sum > 1e-12 * heads ? std::sqrt(count * heads / sum) : 1.0; }
};

GroupMaps AlignAndAverage(const LayerGrams& group, const MethodOptions& options) {
  const bool unit = options.unit_length;
  const auto values = AlignByRotations(unit ? group.unit_value : group.value);
  const auto pairs = AlignByPhases(unit ? group.unit_key_pairs : group.key_pairs);
  const auto free = AlignByRotations(unit ? group.unit_key_free : group.key_free);
  const double count = static_cast<double>(group.shape.kv_heads);
  double value_share = 1 / count;
  double key_share = 1 / count;
  if (options.restore_norm) {
    Energies value_energies;
    value_energies.AddFree(group.value, values.maps);
    value_share *= value_energies.Scale(count);
    Energies key_energies;
    key_energies.AddPairs(group.key_pairs, pairs.maps);
    key_energies.AddFree(group.key_free, free.maps);
    key_share *= key_energies.Scale(count);
  }
  GroupMaps maps;
  maps.value_align = values.maps;
  maps.value_merge = values.maps * value_share;
  maps.value_output = values.maps.transpose(1, 2);
  maps.key_pairs_align = maps.query_pairs = pairs.maps;
  maps.key_pairs_merge = pairs.maps * key_share;
  maps.key_free_align = maps.query_free = free.maps;
  maps.key_free_merge = free.maps * key_share;
  maps.iterations = std::max({values.sweeps, pairs.sweeps, free.sweeps});
  return maps;
}

}  // namespace

extern const AlignmentMethod kProcrustesMethod{
    .name = "procrustes",
    .summary = "the paper's: heads turned towards one another by orthogonal maps, then averaged",
    .restore_norm = false,
    .free_gauge = false,
    .follows_similarity = true,
    .behind_norm = NormMaps::kSigns,
    .solve = AlignAndAverage,
};

}  // namespace regroup
