#include "trainer/alignment/logit_energy.h"

#include <ATen/ATen.h>

namespace regroup {
namespace {

/// Returns sqrt(wanted / given), or 1 if there is nothing to scale.
at::Tensor ScaleTo(const at::Tensor& wanted, const at::Tensor& given) {
  const auto lost = given <= 1e-12 * wanted;
  return at::where(lost, at::ones_like(wanted), at::sqrt(wanted / at::where(lost, at::ones_like(given), given)));
}

/// Returns the scale of each pair, [pairs].
at::Tensor ScaleOfPairs(const LayerGrams& group, const at::Tensor& merge, const at::Tensor& query) {
  const auto m = at::view_as_complex(merge).t().unsqueeze(2);  // [pairs, s, 1]
  const auto shared = at::real(m.conj().transpose(1, 2).matmul(group.key_pairs).matmul(m)).reshape({-1});
  const auto keys = at::real(group.key_pairs.diagonal(0, 1, 2)).t();  // [s, pairs]
  const auto& energy = group.query_pair_energy;
  const auto reading = (energy * query.square().sum(2)).sum(0);
  return ScaleTo((energy * keys).sum(0), reading * shared);
}

/// Returns the one scale of all coordinates without rotation.
at::Tensor ScaleOfFree(const LayerGrams& group, const at::Tensor& merge, const at::Tensor& query) {
  const int64_t rows = merge.size(0) * merge.size(1);
  const auto stacked = merge.reshape({rows, -1});
  const auto shared = stacked.t().mm(group.key_free.reshape({rows, rows})).mm(stacked);  // [f, f]
  const auto keys = group.key_free.diagonal(0, 0, 2).permute({2, 0, 1});                 // [s, f, f]
  const auto queries = query.transpose(1, 2).bmm(group.query_free).bmm(query);
  return ScaleTo((group.query_free * keys).sum(), (queries * shared).sum());
}

}  // namespace

void MatchLogitEnergy(LayerAlignment& alignment, const LayerGrams& grams) {
  for (const std::vector<int64_t>& heads : alignment.Groups()) {
    const LayerGrams group = grams.Select(heads);
    const auto places = at::tensor(heads, at::kLong);
    const auto scale = [&](at::Tensor& merge, const at::Tensor& query, const auto& scale_of) {
      if (merge.size(1) == 0) return;
      const auto part = merge.index_select(0, places);
      merge.index_copy_(0, places, part * scale_of(part, query.index_select(0, places)));
    };
    scale(alignment.key_pairs_merge, alignment.query_pairs, [&](const at::Tensor& merge, const at::Tensor& query) {
      return ScaleOfPairs(group, merge, query).unsqueeze(1);
    });
    scale(alignment.key_free_merge, alignment.query_free,
          [&](const at::Tensor& merge, const at::Tensor& query) { return ScaleOfFree(group, merge, query); });
  }
}

}  // namespace regroup
