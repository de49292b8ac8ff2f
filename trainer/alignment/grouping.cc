#include "trainer/alignment/grouping.h"

#include <algorithm>

namespace regroup {
namespace {

constexpr int64_t kMostHeadsForSubsets = 16;

}  // namespace

HeadGroups NeighbourGroups(int64_t heads, int64_t groups) {
  const int64_t size = heads / groups;
  HeadGroups result(groups, std::vector<int64_t>(size));
  for (int64_t head = 0; head < heads; ++head) result[head / size][head % size] = head;
  return result;
}

double GroupingObjective(const SimilarityMatrix& similarity, const HeadGroups& groups) {
  double sum = 0;
  for (const auto& group : groups) {
    for (size_t i = 0; i < group.size(); ++i) {
      for (size_t j = i + 1; j < group.size(); ++j) sum += similarity.At(group[i], group[j]);
    }
  }
  return sum;
}

HeadGroups SortedGroups(HeadGroups groups) {
  for (auto& group : groups) std::sort(group.begin(), group.end());
  std::sort(groups.begin(), groups.end());
  return groups;
}

HeadGroups GroupHeads(const SimilarityMatrix& similarity, int64_t groups, uint64_t seed) {
  const int64_t heads = similarity.size;
  const int64_t size = heads / groups;
  if (groups == heads || groups == 1) return NeighbourGroups(heads, groups);
  if (size == 2) return GroupByMatching(similarity);
  if (heads <= kMostHeadsForSubsets) return GroupBySubsets(similarity, groups);
  return GroupByAnnealing(similarity, groups, seed);
}

}  // namespace regroup
