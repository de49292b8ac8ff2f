#include "trainer/alignment/figures.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "trainer/alignment/parallel_tasks.h"

namespace regroup {
namespace {

struct Energy {
  double lost = 0;
  double whole = 0;
  double Share() const { return whole > 0 ? std::max(0.0, lost / whole) : 0.0; }
};

// Returns E|(a_i - a_g O_i)|^2 in the metric of each head, summed over one group. Arguments are the group's own,
// [s, w, ...].
Energy LinearLoss(const at::Tensor& gram, const at::Tensor& merge, const at::Tensor& output, const at::Tensor& metric) {
  const int64_t count = gram.size(0);
  const int64_t rows = count * gram.size(1);
  if (rows == 0) return {};
  const auto stacked = merge.reshape({rows, -1});
  const auto cross = gram.reshape({rows, rows}).mm(stacked);  // E a_i^T a_g
  const auto shared = stacked.t().mm(cross);                  // E a_g^T a_g
  const auto weighted = output.bmm(metric);                   // O_i times the metric
  const auto self = gram.diagonal(0, 0, 2).permute({2, 0, 1});
  const double whole = (metric * self).sum().item<double>();
  const double common = (cross.view({count, gram.size(1), -1}) * weighted.transpose(1, 2)).sum().item<double>();
  const double replaced = (weighted.bmm(output.transpose(1, 2)).sum(0) * shared).sum().item<double>();
  return {whole - 2 * common + replaced, whole};
}

// Returns sum_a w_a E|k_a - conj(n_a) k_g|^2 over the rotary pairs of one group.
Energy PairLoss(const at::Tensor& gram, const at::Tensor& merge, const at::Tensor& query, const at::Tensor& energies) {
  const auto m = merge.t().unsqueeze(2);                                            // [pairs, s, 1]
  const auto cross = gram.matmul(m);                                                // E conj(k_a) k_g
  const auto shared = at::real(m.conj().transpose(1, 2).matmul(cross)).squeeze(2);  // [pairs, 1]
  const auto n = query.t();                                                         // [pairs, s]
  const auto self = at::real(gram.diagonal(0, 1, 2));
  const auto error = self - 2 * at::real(n.conj() * cross.squeeze(2)) + n.abs().square() * shared;
  const auto weights = energies.t();
  return {(weights * error).sum().item<double>(), (weights * self).sum().item<double>()};
}

void Add(Energy& sum, const Energy& part, double weight) {
  sum.lost += weight * part.lost;
  sum.whole += weight * part.whole;
}

void FillResiduals(LayerAlignment& alignment, const LayerGrams& grams) {
  const auto groups = alignment.Groups();
  std::vector<Energy> values(groups.size());
  std::vector<Energy> keys(groups.size());
  ParallelTasks(static_cast<int64_t>(groups.size()), grams.shape.head_width, [&](int64_t g) {
    const auto group = grams.Select(groups[g]);
    const auto chosen = at::tensor(groups[g], at::kLong);
    const auto of = [&](const at::Tensor& maps) { return maps.index_select(0, chosen); };
    const auto complex = [&](const at::Tensor& maps) { return at::view_as_complex(of(maps)); };
    values[g] = LinearLoss(group.value, of(alignment.value_merge), of(alignment.value_output), group.output_metric);
    Add(keys[g],
        PairLoss(group.key_pairs, complex(alignment.key_pairs_merge), complex(alignment.query_pairs),
                 group.query_pair_energy),
        0.5);
    Add(keys[g],
        LinearLoss(group.key_free, of(alignment.key_free_merge), of(alignment.query_free).transpose(1, 2),
                   group.query_free),
        1);
  });
  const auto share = [](const std::vector<Energy>& parts) {
    Energy sum;
    for (const Energy& part : parts) Add(sum, part, 1);
    return sum.Share();
  };
  alignment.residual_value = share(values);
  alignment.residual_key = share(keys);
}

// Returns E<a_i R_i, a_j R_j> [H, H]; with undefined maps, R = 1. Products are computed in float32: users read these
// figures, and nothing is computed from them.
at::Tensor InnerProducts(const at::Tensor& gram, const at::Tensor& maps) {
  if (gram.numel() == 0) return at::zeros({gram.size(0), gram.size(0)}, at::kDouble);
  if (!maps.defined()) return gram.diagonal(0, 1, 3).sum(2);
  const int64_t heads = gram.size(0);
  const int64_t width = gram.size(1);
  const auto turns = maps.to(at::kFloat);
  const auto flat_turns = turns.reshape({heads, width * width});
  auto inner = at::empty({heads, heads}, at::kDouble);
  ParallelTasks(heads, width, [&](int64_t task) {
    const int64_t j = heads - 1 - task;  // the longest first
    const auto before = [&](const at::Tensor& all) { return all.narrow(0, 0, j + 1); };
    const auto right = before(gram).select(2, j).to(at::kFloat).reshape({(j + 1) * width, width}).mm(turns[j]);
    const auto products = right.view({j + 1, width * width}).mul_(before(flat_turns)).sum(1, false, at::kDouble);
    before(inner.select(1, j)).copy_(products);
    before(inner.select(0, j)).copy_(products);
  });
  return inner;
}

at::Tensor PairInnerProducts(const at::Tensor& gram, const at::Tensor& phases) {
  if (!phases.defined()) return at::real(gram).sum(0);
  const auto c = at::view_as_complex(phases).t();  // [pairs, H]
  return at::real(c.conj().unsqueeze(2) * gram * c.unsqueeze(1)).sum(0);
}

at::Tensor Cosines(const at::Tensor& inner) {
  const auto length = inner.diagonal().clamp_min(0).sqrt();
  const auto scale = length.outer(length);
  return at::where(scale > 0, (inner / scale).clamp(-1, 1), at::zeros_like(inner));
}

// Returns the mean over pairs of different heads in one group; 1 if there is none.
double MeanInsideGroups(const at::Tensor& cosines, const LayerAlignment& alignment) {
  const int64_t size = alignment.GroupSize();
  if (size < 2) return 1;
  double sum = 0;
  for (const auto& heads : alignment.Groups()) {
    const auto chosen = at::tensor(heads, at::kLong);
    const auto block = cosines.index_select(0, chosen).index_select(1, chosen);
    sum += (block.sum() - block.trace()).item<double>();
  }
  return sum / static_cast<double>(alignment.GroupCount() * size * (size - 1));
}

}  // namespace

void FillFigures(LayerAlignment& alignment, const LayerGrams& grams) {
  const at::Tensor none;
  alignment.value_similarity_before = Cosines(InnerProducts(grams.value, none));
  alignment.value_similarity_after = Cosines(InnerProducts(grams.value, alignment.value_align));
  alignment.key_similarity_before =
      Cosines(PairInnerProducts(grams.key_pairs, none) + InnerProducts(grams.key_free, none));
  alignment.key_similarity_after = Cosines(PairInnerProducts(grams.key_pairs, alignment.key_pairs_align) +
                                           InnerProducts(grams.key_free, alignment.key_free_align));
  alignment.similarity_before = 0.5 * (MeanInsideGroups(alignment.value_similarity_before, alignment) +
                                       MeanInsideGroups(alignment.key_similarity_before, alignment));
  alignment.similarity_after = 0.5 * (MeanInsideGroups(alignment.value_similarity_after, alignment) +
                                      MeanInsideGroups(alignment.key_similarity_after, alignment));
  FillResiduals(alignment, grams);
}

}  // namespace regroup
