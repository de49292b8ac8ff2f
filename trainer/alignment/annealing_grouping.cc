// Groups heads by simulated annealing over swaps of two heads between groups.
//
// pull[h][g], the sum of similarities of head h to the members of group g, makes the gain of a swap O(1) and its
// bookkeeping O(heads). Each start cools from the spread of the similarities down to a thousandth of it, then descends
// until no swap improves. The best of all starts wins, or the neighbours if none is better.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "trainer/alignment/grouping.h"
#include "trainer/alignment/random_numbers.h"

namespace regroup {
namespace {

constexpr int kStarts = 16;
constexpr int kSwapsPerPair = 400;  // tried per start, times the number of pairs of heads
constexpr double kLastTemperature = 1e-3;

class Partition {
 public:
  Partition(const SimilarityMatrix& similarity, int64_t groups, const std::vector<int64_t>& order)
      : similarity_(similarity), groups_(groups), group_of_(similarity.size), pull_(similarity.size * groups, 0.0) {
    const int64_t size = similarity.size / groups;
    for (int64_t place = 0; place < similarity.size; ++place) group_of_[order[place]] = place / size;
    for (int64_t head = 0; head < similarity.size; ++head) AddPull(head, group_of_[head], 1.0);
  }

  bool SameGroup(int64_t a, int64_t b) const { return group_of_[a] == group_of_[b]; }

  double SwapGain(int64_t a, int64_t b) const {
    const int64_t from = group_of_[a];
    const int64_t to = group_of_[b];
    return Pull(a, to) - Pull(a, from) + Pull(b, from) - Pull(b, to) - 2 * similarity_.At(a, b);
  }

  void Swap(int64_t a, int64_t b) {
    AddPull(a, group_of_[a], -1.0);
    AddPull(b, group_of_[b], -1.0);
    std::swap(group_of_[a], group_of_[b]);
    AddPull(a, group_of_[a], 1.0);
    AddPull(b, group_of_[b], 1.0);
  }

  HeadGroups Groups() const {
    HeadGroups groups(groups_);
    for (int64_t head = 0; head < similarity_.size; ++head) groups[group_of_[head]].push_back(head);
    return SortedGroups(std::move(groups));
  }

 private:
  double Pull(int64_t head, int64_t group) const { return pull_[head * groups_ + group]; }

  // Updates the pulls when head `member` enters (weight 1) or leaves (-1) a group.
  void AddPull(int64_t member, int64_t group, double weight) {
    for (int64_t head = 0; head < similarity_.size; ++head) {
      if (head != member) pull_[head * groups_ + group] += weight * similarity_.At(head, member);
    }
  }

  const SimilarityMatrix& similarity_;
  int64_t groups_;
  std::vector<int64_t> group_of_;
  std::vector<double> pull_;
};

double Spread(const SimilarityMatrix& similarity) {
  double low = similarity.At(0, 1);
  double high = low;
  for (int64_t a = 0; a < similarity.size; ++a) {
    for (int64_t b = a + 1; b < similarity.size; ++b) {
      low = std::min(low, similarity.At(a, b));
      high = std::max(high, similarity.At(a, b));
    }
  }
  return high - low;
}

std::vector<int64_t> ShuffledHeads(int64_t heads, RandomNumbers& random) {
  std::vector<int64_t> order(heads);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t place = heads - 1; place > 0; --place) std::swap(order[place], order[random.Below(place + 1)]);
  return order;
}

void Anneal(Partition& partition, int64_t heads, double first_temperature, RandomNumbers& random) {
  const int64_t swaps = kSwapsPerPair * heads * (heads - 1) / 2;
  const double cooling = std::pow(kLastTemperature, 1.0 / static_cast<double>(swaps));
  double temperature = first_temperature;
  for (int64_t i = 0; i < swaps; ++i, temperature *= cooling) {
    const int64_t a = random.Below(heads);
    const int64_t b = random.Below(heads);
    if (partition.SameGroup(a, b)) continue;
    const double gain = partition.SwapGain(a, b);
    if (gain >= 0 || random.Unit() < std::exp(gain / temperature)) partition.Swap(a, b);
  }
}

// Swaps heads until no swap improves by more than rounding.
void Descend(Partition& partition, int64_t heads, double smallest_gain) {
  for (bool improved = true; improved;) {
    improved = false;
    for (int64_t a = 0; a < heads; ++a) {
      for (int64_t b = a + 1; b < heads; ++b) {
        if (partition.SameGroup(a, b) || partition.SwapGain(a, b) <= smallest_gain) continue;
        partition.Swap(a, b);
        improved = true;
      }
    }
  }
}

}  // namespace

HeadGroups GroupByAnnealing(const SimilarityMatrix& similarity, int64_t groups, uint64_t seed) {
  const double spread = Spread(similarity);
  HeadGroups best = NeighbourGroups(similarity.size, groups);
  if (!(spread > 0)) return best;
  RandomNumbers random(seed);
  double best_objective = GroupingObjective(similarity, best);
  for (int start = 0; start < kStarts; ++start) {
    Partition partition(similarity, groups, ShuffledHeads(similarity.size, random));
    Anneal(partition, similarity.size, spread, random);
    Descend(partition, similarity.size, 1e-12 * spread);
    HeadGroups found = partition.Groups();
    const double objective = GroupingObjective(similarity, found);
    if (objective > best_objective) {
      best_objective = objective;
      best = std::move(found);
    }
  }
  return best;
}

}  // namespace regroup
