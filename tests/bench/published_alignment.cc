#include "published_alignment.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "trainer/alignment/random_numbers.h"

namespace regroup {
namespace {

constexpr int kStarts = 200;
constexpr int kSwaps = 3000;
constexpr int kMostSweeps = 100;
constexpr double kLeastGain = 1e-5;

at::Tensor UnitRows(const at::Tensor& rows) { return rows / rows.norm(2, -1, true); }

double MeanCosine(const at::Tensor& a, const at::Tensor& b) {
  return (UnitRows(a) * UnitRows(b)).sum(-1).mean().item<double>();
}

/// Returns the orthogonal map that takes `rows` [tokens, width] closest to `target`.
at::Tensor BestRotation(const at::Tensor& rows, const at::Tensor& target) {
  const auto [u, s, v] = at::linalg_svd(at::mm(rows.t(), target));
  return at::mm(u, v);
}

/// Returns the same with one rotation, without reflection, for each pair of coordinates (t, t + width / 2): in closed
/// form, the angle of the sum of conj(z) target.
at::Tensor BestPairRotations(const at::Tensor& rows, const at::Tensor& target) {
  const int64_t pairs = rows.size(1) / 2;
  const at::Tensor x = rows.narrow(1, 0, pairs), y = rows.narrow(1, pairs, pairs);
  const at::Tensor a = target.narrow(1, 0, pairs), b = target.narrow(1, pairs, pairs);
  const at::Tensor angle = at::atan2((x * b - y * a).sum(0), (x * a + y * b).sum(0));
  const at::Tensor cosine = at::diag(at::cos(angle)), sine = at::diag(at::sin(angle));
  return at::cat({at::cat({cosine, sine}, 1), at::cat({-sine, cosine}, 1)}, 0);
}

/// Returns the same as published: one decomposition per pair, whose last left vector is negated if it reflects.
at::Tensor PairRotationsOneByOne(const at::Tensor& rows, const at::Tensor& target) {
  const int64_t width = rows.size(1), pairs = width / 2;
  at::Tensor map = at::zeros({width, width}, rows.options());
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const at::Tensor both = at::tensor({pair, pair + pairs}, at::kLong);
    const at::Tensor product = at::mm(rows.index_select(1, both).t(), target.index_select(1, both));
    const auto [u, s, v] = at::linalg_svd(product);
    at::Tensor turn = at::mm(u, v);
    if (at::linalg_det(turn).item<double>() < 0) {
      u.select(1, 1).neg_();
      turn = at::mm(u, v);
    }
    for (int64_t row = 0; row < 2; ++row) {
      for (int64_t column = 0; column < 2; ++column) {
        map[pair + row * pairs][pair + column * pairs] = turn[row][column];
      }
    }
  }
  return map;
}

using Rotation = at::Tensor (*)(const at::Tensor& rows, const at::Tensor& target);

SimilarityMatrix Similarities(const at::Tensor& heads) {
  const int64_t count = heads.size(0);
  SimilarityMatrix similarity{.size = count, .values = std::vector<double>(count * count)};
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      const double cosine = MeanCosine(at::mm(heads[i], BestRotation(heads[i], heads[j])), heads[j]);
      similarity.values[i * count + j] = similarity.values[j * count + i] = cosine;
    }
  }
  return similarity;
}

HeadGroups RandomGroups(int64_t heads, int64_t groups, RandomNumbers& random) {
  std::vector<int64_t> order(heads);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = heads - 1; i > 0; --i) std::swap(order[i], order[random.Below(i + 1)]);
  HeadGroups result(groups);
  for (int64_t i = 0; i < heads; ++i) result[i * groups / heads].push_back(order[i]);
  return result;
}

HeadGroups ClimbHills(const SimilarityMatrix& similarity, int64_t groups, RandomNumbers& random) {
  HeadGroups best;
  double best_score = -1e300;
  for (int start = 0; start < kStarts; ++start) {
    HeadGroups now = RandomGroups(similarity.size, groups, random);
    double score = GroupingObjective(similarity, now);
    for (int swap = 0; swap < kSwaps; ++swap) {
      const int64_t a = random.Below(groups), b = (a + 1 + random.Below(groups - 1)) % groups;
      const auto in_group = static_cast<int64_t>(now[0].size());
      int64_t &left = now[a][random.Below(in_group)], &right = now[b][random.Below(in_group)];
      std::swap(left, right);
      const double swapped = GroupingObjective(similarity, now);
      if (swapped > score) {
        score = swapped;
      } else {
        std::swap(left, right);
      }
    }
    if (score > best_score) {
      best_score = score;
      best = now;
    }
  }
  return SortedGroups(best);
}

double SumOfPairs(const std::vector<at::Tensor>& turned) {
  std::vector<at::Tensor> unit;
  for (const at::Tensor& rows : turned) unit.push_back(UnitRows(rows));
  double sum = 0;
  for (size_t i = 0; i < unit.size(); ++i) {
    for (size_t j = 0; j < i; ++j) sum += (unit[i] * unit[j]).sum(-1).mean().item<double>();
  }
  return sum;
}

/// Returns the maps of one group's heads, each [tokens, width].
std::vector<at::Tensor> AlignGroup(const std::vector<at::Tensor>& heads, Rotation rotation) {
  const size_t count = heads.size();
  std::vector<at::Tensor> maps(count), turned(count);
  const auto turn_all = [&](const at::Tensor& target) {
    for (size_t i = 0; i < count; ++i) {
      maps[i] = rotation(heads[i], target);
      turned[i] = at::mm(heads[i], maps[i]);
    }
  };
  turn_all(heads[0]);
  if (count <= 2) return maps;
  double sum = SumOfPairs(turned);
  at::Tensor mean = at::stack(turned).mean(0);
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    turn_all(mean);
    const double now = SumOfPairs(turned);
    if (now - sum < kLeastGain) break;
    mean = at::stack(turned).mean(0);
    sum = now;
  }
  return maps;
}

at::Tensor AlignGroups(const at::Tensor& heads, const HeadGroups& groups, Rotation rotation) {
  at::Tensor maps = at::empty({heads.size(0), heads.size(2), heads.size(2)}, heads.options());
  for (const auto& group : groups) {
    std::vector<at::Tensor> members;
    for (const int64_t head : group) members.push_back(heads[head]);
    const std::vector<at::Tensor> found = AlignGroup(members, rotation);
    for (size_t i = 0; i < group.size(); ++i) maps[group[i]].copy_(found[i]);
  }
  return maps;
}

}  // namespace

PublishedAlignment AlignAsPublished(const at::Tensor& values, const at::Tensor& keys, int64_t groups,
                                    PublishedMode mode, uint64_t seed) {
  const at::Tensor unit_values = UnitRows(values), unit_keys = UnitRows(keys);
  RandomNumbers random(seed);
  PublishedAlignment result{.similarity = Similarities(unit_values)};
  result.groups = ClimbHills(result.similarity, groups, random);
  result.value_maps = AlignGroups(unit_values, result.groups, BestRotation);
  const bool literal = mode == PublishedMode::kLiteral;
  result.key_maps = AlignGroups(unit_keys, result.groups, literal ? PairRotationsOneByOne : BestPairRotations);
  return result;
}

double SumOfCosines(const at::Tensor& heads, const at::Tensor& maps, const HeadGroups& groups) {
  double sum = 0;
  for (const auto& group : groups) {
    std::vector<at::Tensor> turned;
    for (const int64_t head : group) turned.push_back(at::mm(heads[head], maps[head]));
    sum += SumOfPairs(turned);
  }
  return sum;
}

}  // namespace regroup
