// Finds the least-squares optimum of merging under all maps that leave the model unchanged (../README.md, "Merging a
// group").
//
// Values. A shared head v_g [w] and one matrix O_i per head replace v_i by v_g O_i. The model uses v_i Wo_i, so the
// loss is sum_i E|(v_i - v_g O_i) Wo_i|^2 = sum_i E|(v_i - v_g O_i) S_i|^2 with S_i = (Wo_i Wo_i^T)^(1/2). Put y = [v_1
// S_1, ..., v_s S_s]; v_g may be any w-dimensional linear function of y, so the best rank-w approximation of y decides:
// its second moment M has blocks S_i G_ij S_j, P = its w leading eigenvectors, P_i the block of head i, v_g = y P =
// sum_i v_i S_i P_i        M_i = S_i P_i        O_i = P_i^T S_i^-1 The loss is the sum of the discarded eigenvalues.
// Orthogonal maps with a mean are a special choice of P.
//
// Keys without rotation. The logit is q k_i^T, its squared error E (q (k_i - k_g O_i)^T)^2 is the same formula with the
// queries' second moment in place of Wo_i Wo_i^T, and q' = q O_i^T. Keys are centred: a constant cancels.
//
// Rotary pairs. With complex z = x + j y the allowed maps are complex numbers, and k_a is replaced by conj(n_a) k_g,
// which is the same as q' = n_a q. The loss is sum_a w_a E|k_a - conj(n_a) k_g|^2, w_a = E|q_a|^2: rank one instead of
// rank w. With M_ab = sqrt(w_a w_b) E conj(z_a) z_b and its leading eigenvector u,
//     k_g = sum_b u_b sqrt(w_b) k_b        n_a = u_a / sqrt(w_a)
// (M is the conjugate of the usual covariance, hence u and not its conjugate in k_g.)
//
// The aligned original heads use the inverses of O_i and of n_a. Where the shared head carries almost nothing of a
// head, the inverse would be huge: singular values of P_i, and |u_a|, are floored at kSmallestShare, so in such
// directions the aligned head is not exact. Groups of one head are always exact.
#include <ATen/ATen.h>

#include "trainer/alignment/metric_root.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

constexpr double kSmallestShare = 1e-3;

struct LinearMaps {
  at::Tensor align, merge, output;  // [s, w, w]
};

// Returns S_i P_i^-T, with the floor. Singular values take several times as long as an inverse, whose norm bounds the
// smallest of them: in most cases this bound shows that all are above the floor.
at::Tensor FlooredInverse(const at::Tensor& root, const at::Tensor& blocks) {
  const auto [inverse, singular] = at::linalg_inv_ex(blocks);
  if (!singular.any().item<bool>() && inverse.norm(2, {1, 2}).max().item<double>() < 1 / kSmallestShare) {
    return root.bmm(inverse.transpose(1, 2));
  }
  const auto [u, s, vt] = at::linalg_svd(blocks, /*full_matrices=*/false);
  return root.bmm(u).div(s.clamp_min(kSmallestShare).unsqueeze(1)).bmm(vt);
}

LinearMaps PrincipalMaps(const at::Tensor& gram, const at::Tensor& metric) {
  const int64_t count = gram.size(0);
  const int64_t width = gram.size(1);
  const auto empty = at::zeros({count, width, width}, at::kDouble);
  if (width == 0) return {empty, empty, empty};
  const auto metric_root = RootOfMetric(metric);
  const auto eigen = at::linalg_eigh(WeightedGram(gram, metric_root.root));
  const auto leading = std::get<1>(eigen).narrow(1, (count - 1) * width, width).flip(1);
  const auto blocks = leading.reshape({count, width, width});
  return {FlooredInverse(metric_root.root, blocks), metric_root.root.bmm(blocks),
          blocks.transpose(1, 2).bmm(metric_root.inverse)};
}

// Returns E|q|^2 [s, pairs] with zeros lifted, so that an unused pair still has an inverse.
at::Tensor FlooredEnergies(const at::Tensor& energies) {
  const auto largest = std::get<0>(energies.max(0, true));
  return at::where(largest > 0, at::maximum(energies, 1e-6 * largest), at::ones_like(energies));
}

// Adds the maps of the rotary pairs.
void AddPairMaps(GroupMaps& maps, const LayerGrams& group) {
  const auto root = FlooredEnergies(group.query_pair_energy).sqrt();  // [s, pairs]
  const auto scale = root.t().unsqueeze(2) * root.t().unsqueeze(1);   // [pairs, s, s]
  const auto vectors = std::get<1>(at::linalg_eigh(group.key_pairs * scale));
  const auto u = vectors.select(2, group.shape.kv_heads - 1).t().contiguous();  // [s, pairs]
  const auto modulus = u.abs();
  const auto phase = at::where(modulus > 0, u / modulus, at::ones_like(u));
  maps.key_pairs_merge = u * root;
  maps.query_pairs = u / root;
  maps.key_pairs_align = phase * root / modulus.clamp_min(kSmallestShare);
}

GroupMaps PrincipalComponents(const LayerGrams& group, const MethodOptions&) {
  GroupMaps maps;
  auto values = PrincipalMaps(group.value, group.output_metric);
  maps.value_align = values.align;
  maps.value_merge = values.merge;
  maps.value_output = values.output;
  auto keys = PrincipalMaps(group.key_free, group.query_free);
  maps.key_free_align = keys.align;
  maps.key_free_merge = keys.merge;
  maps.query_free = keys.output.transpose(1, 2);
  AddPairMaps(maps, group);
  return maps;
}

}  // namespace

extern const AlignmentMethod kPrincipalMethod{
    .name = "principal",
    .summary = "the closed-form least-squares optimum: principal components weighted by outputs and queries",
    .restore_norm = true,
    .free_gauge = true,
    .follows_similarity = false,
    .behind_norm = NormMaps::kPhases,
    .solve = PrincipalComponents,
};

}  // namespace regroup
