#include "trainer/alignment/head_budget.h"

#include <fmt/format.h>

#include <limits>

namespace regroup {

std::vector<int64_t> DivisorsOf(int64_t heads) {
  std::vector<int64_t> divisors;
  for (int64_t count = 1; count <= heads; ++count) {
    if (heads % count == 0) divisors.push_back(count);
  }
  return divisors;
}

absl::StatusOr<std::vector<int64_t>> SpendHeads(const std::vector<LossOfHeads>& layers, int64_t total) {
  constexpr double kImpossible = std::numeric_limits<double>::infinity();
  // least[spent]: the least loss of the layers so far with this many heads; choice[layer][spent]: the last one's heads.
  std::vector<double> least(total + 1, kImpossible);
  least[0] = 0;
  std::vector<std::vector<int64_t>> choice(layers.size(), std::vector<int64_t>(total + 1, 0));
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    std::vector<double> next(total + 1, kImpossible);
    for (const auto& [heads, loss] : layers[layer]) {
      for (int64_t spent = heads; spent <= total; ++spent) {
        if (least[spent - heads] + loss >= next[spent]) continue;
        next[spent] = least[spent - heads] + loss;
        choice[layer][spent] = heads;
      }
    }
    least = std::move(next);
  }
  if (least[total] == kImpossible) {
    return absl::InvalidArgumentError(
        fmt::format("no choice over {} layers has {} KV heads in total", layers.size(), total));
  }
  std::vector<int64_t> heads(layers.size());
  for (size_t layer = layers.size(); layer-- > 0;) {
    heads[layer] = choice[layer][total];
    total -= heads[layer];
  }
  return heads;
}

}  // namespace regroup
