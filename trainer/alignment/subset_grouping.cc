// Groups heads by dynamic programming over the set of heads that already have a group.
//
// best(used) is the largest sum over partitions of `used` into full groups. The next group always contains the first
// head that is not used, so every partition is met once.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "trainer/alignment/grouping.h"

namespace regroup {
namespace {

using HeadSet = uint32_t;

HeadSet Lowest(HeadSet set) { return set & (~set + 1); }

// Returns the next larger number with as many bits set.
HeadSet NextOfSameSize(HeadSet set) {
  const HeadSet low = Lowest(set);
  const HeadSet carried = set + low;
  return carried | (((set ^ carried) >> 2) / low);
}

// Returns the sum of similarities inside every set.
std::vector<double> SumsInside(const SimilarityMatrix& similarity) {
  std::vector<double> sums(size_t{1} << similarity.size, 0.0);
  for (HeadSet set = 1; set < sums.size(); ++set) {
    const int first = std::countr_zero(set);
    const HeadSet rest = set & (set - 1);
    sums[set] = sums[rest];
    for (HeadSet left = rest; left != 0; left &= left - 1) sums[set] += similarity.At(first, std::countr_zero(left));
  }
  return sums;
}

// Returns all sets of one size, to be tried as the next group.
std::vector<HeadSet> SetsOfSize(int64_t heads, int64_t size) {
  std::vector<HeadSet> sets;
  const HeadSet end = HeadSet{1} << heads;
  for (HeadSet set = (HeadSet{1} << size) - 1; set < end; set = NextOfSameSize(set)) sets.push_back(set);
  return sets;
}

std::vector<int64_t> Members(HeadSet set) {
  std::vector<int64_t> members;
  for (; set != 0; set &= set - 1) members.push_back(std::countr_zero(set));
  return members;
}

}  // namespace

HeadGroups GroupBySubsets(const SimilarityMatrix& similarity, int64_t groups) {
  const HeadSet all = (HeadSet{1} << similarity.size) - 1;
  const auto inside = SumsInside(similarity);
  std::vector<std::vector<HeadSet>> candidates(similarity.size);  // by first head
  for (const HeadSet set : SetsOfSize(similarity.size, similarity.size / groups)) {
    candidates[std::countr_zero(set)].push_back(set);
  }
  constexpr double kUnreached = -std::numeric_limits<double>::infinity();
  std::vector<double> best(size_t{all} + 1, kUnreached);
  std::vector<HeadSet> last(size_t{all} + 1, 0);
  best[0] = 0;
  for (HeadSet used = 0; used < all; ++used) {
    if (best[used] == kUnreached) continue;
    for (const HeadSet group : candidates[std::countr_one(used)]) {
      if ((group & used) != 0) continue;
      const double sum = best[used] + inside[group];
      if (sum > best[used | group]) {
        best[used | group] = sum;
        last[used | group] = group;
      }
    }
  }
  HeadGroups result;
  for (HeadSet left = all; left != 0; left ^= last[left]) result.push_back(Members(last[left]));
  return SortedGroups(std::move(result));
}

}  // namespace regroup
