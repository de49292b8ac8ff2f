#include "trainer/alignment/grouping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "trainer/alignment/random_numbers.h"

namespace regroup {
namespace {

SimilarityMatrix RandomSimilarity(int64_t size, uint64_t seed, int64_t levels = 0) {
  RandomNumbers random(seed);
  SimilarityMatrix similarity{size, std::vector<double>(size * size, 0.0)};
  for (int64_t a = 0; a < size; ++a) {
    for (int64_t b = a + 1; b < size; ++b) {
      const double value = levels > 0 ? static_cast<double>(random.Below(levels)) : random.Unit() * 2 - 1;
      similarity.values[a * size + b] = similarity.values[b * size + a] = value;
    }
  }
  return similarity;
}

// Tries every partition into equal groups, by recursion: the group of the first free head is chosen in all ways.
double BestByTryingAll(const SimilarityMatrix& similarity, int64_t group_size, std::vector<int64_t> free) {
  if (free.empty()) return 0;
  const int64_t first = free.front();
  double best = -1e300;
  std::vector<bool> chosen(free.size() - 1, false);
  std::fill(chosen.begin(), chosen.begin() + group_size - 1, true);
  do {
    std::vector<int64_t> group = {first};
    std::vector<int64_t> rest;
    for (size_t i = 0; i < chosen.size(); ++i) (chosen[i] ? group : rest).push_back(free[i + 1]);
    best = std::max(best, GroupingObjective(similarity, {group}) + BestByTryingAll(similarity, group_size, rest));
  } while (std::prev_permutation(chosen.begin(), chosen.end()));
  return best;
}

double BestByTryingAll(const SimilarityMatrix& similarity, int64_t groups) {
  std::vector<int64_t> heads;
  for (int64_t head = 0; head < similarity.size; ++head) heads.push_back(head);
  return BestByTryingAll(similarity, similarity.size / groups, heads);
}

void ExpectPartition(const HeadGroups& groups, int64_t heads, int64_t count) {
  ASSERT_EQ(static_cast<int64_t>(groups.size()), count);
  std::set<int64_t> seen;
  for (const auto& group : groups) {
    EXPECT_EQ(static_cast<int64_t>(group.size()), heads / count);
    EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
    seen.insert(group.begin(), group.end());
  }
  EXPECT_EQ(static_cast<int64_t>(seen.size()), heads);
  EXPECT_TRUE(std::is_sorted(groups.begin(), groups.end()));
}

TEST(Grouping, SubsetsFindTheBestPartition) {
  const std::vector<std::pair<int64_t, int64_t>> sizes = {{4, 2}, {6, 2}, {6, 3},  {8, 2},
                                                          {8, 4}, {9, 3}, {12, 3}, {12, 4}};
  for (const auto& [heads, groups] : sizes) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const auto similarity = RandomSimilarity(heads, seed);
      const auto found = GroupBySubsets(similarity, groups);
      ExpectPartition(found, heads, groups);
      EXPECT_NEAR(GroupingObjective(similarity, found), BestByTryingAll(similarity, groups), 1e-12)
          << heads << " heads, " << groups << " groups, seed " << seed;
    }
  }
}

TEST(Grouping, MatchingFindsTheBestPairs) {
  for (int64_t heads = 2; heads <= 10; heads += 2) {
    for (uint64_t seed = 0; seed < 60; ++seed) {
      const auto similarity = RandomSimilarity(heads, seed);
      const auto found = GroupByMatching(similarity);
      ExpectPartition(found, heads, heads / 2);
      EXPECT_NEAR(GroupingObjective(similarity, found), BestByTryingAll(similarity, heads / 2), 1e-9)
          << heads << " heads, seed " << seed;
    }
  }
}

TEST(Grouping, MatchingIsExactWhereManyPairsTie) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const auto similarity = RandomSimilarity(16, seed, 3);
    EXPECT_NEAR(GroupingObjective(similarity, GroupByMatching(similarity)),
                GroupingObjective(similarity, GroupBySubsets(similarity, 8)), 1e-9)
        << "seed " << seed;
  }
}

TEST(Grouping, MatchingPairsLargeModelsAtLeastAsWellAsAnnealing) {
  for (const int64_t heads : {32, 64}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      const auto similarity = RandomSimilarity(heads, seed);
      const auto found = GroupByMatching(similarity);
      ExpectPartition(found, heads, heads / 2);
      EXPECT_GE(GroupingObjective(similarity, found),
                GroupingObjective(similarity, GroupByAnnealing(similarity, heads / 2, seed)) - 1e-9);
    }
  }
}

TEST(Grouping, AnnealingFindsTheOptimumOfSmallProblems) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const auto similarity = RandomSimilarity(16, seed);
    for (const int64_t groups : {2, 4}) {
      EXPECT_NEAR(GroupingObjective(similarity, GroupByAnnealing(similarity, groups, seed)),
                  GroupingObjective(similarity, GroupBySubsets(similarity, groups)), 1e-9);
    }
  }
}

// Uses sizes beyond those that annealing always solves; tests/bench/README.md has the table of larger ones.
TEST(Grouping, AnnealingMissesLittleOfTheBestPairs) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const auto similarity = RandomSimilarity(32, seed);
    const double best = GroupingObjective(similarity, GroupByMatching(similarity));
    EXPECT_GE(GroupingObjective(similarity, GroupByAnnealing(similarity, 16, seed)), 0.99 * best) << "seed " << seed;
  }
}

TEST(Grouping, AnnealingEndsWhereNoSwapImproves) {
  const auto similarity = RandomSimilarity(32, 5);
  const auto found = GroupByAnnealing(similarity, 8, 1);
  ExpectPartition(found, 32, 8);
  const double objective = GroupingObjective(similarity, found);
  for (size_t g = 0; g < found.size(); ++g) {
    for (size_t h = g + 1; h < found.size(); ++h) {
      for (size_t i = 0; i < 4; ++i) {
        for (size_t j = 0; j < 4; ++j) {
          auto swapped = found;
          std::swap(swapped[g][i], swapped[h][j]);
          EXPECT_LE(GroupingObjective(similarity, swapped), objective + 1e-9);
        }
      }
    }
  }
}

TEST(Grouping, SameSeedGivesTheSameGroups) {
  const auto similarity = RandomSimilarity(32, 9);
  EXPECT_EQ(GroupHeads(similarity, 8, 3), GroupHeads(similarity, 8, 3));
}

TEST(Grouping, MatchingGivesTheSamePairsEachTime) {
  for (const int64_t levels : {0, 2}) {
    const auto similarity = RandomSimilarity(64, 9, levels);
    EXPECT_EQ(GroupByMatching(similarity), GroupByMatching(similarity));
  }
}

TEST(Grouping, PlantedGroupsAreFound) {
  SimilarityMatrix similarity = RandomSimilarity(32, 2);
  for (int64_t a = 0; a < 32; ++a) {
    for (int64_t b = 0; b < 32; ++b) {
      if (a % 4 == b % 4) similarity.values[a * 32 + b] += 5;
    }
  }
  for (const auto& group : GroupHeads(similarity, 4, 0)) {
    for (const int64_t head : group) EXPECT_EQ(head % 4, group.front() % 4);
  }
}

TEST(Grouping, EqualSimilaritiesKeepNeighbours) {
  const SimilarityMatrix flat{32, std::vector<double>(32 * 32, 0.5)};
  EXPECT_EQ(GroupHeads(flat, 8, 0), NeighbourGroups(32, 8));
  EXPECT_EQ(GroupHeads(flat, 16, 0), NeighbourGroups(32, 16));
}

TEST(Grouping, OneGroupAndSingleHeadsNeedNoChoice) {
  const auto similarity = RandomSimilarity(6, 1);
  EXPECT_EQ(GroupHeads(similarity, 1, 0), NeighbourGroups(6, 1));
  EXPECT_EQ(GroupHeads(similarity, 6, 0), NeighbourGroups(6, 6));
}

}  // namespace
}  // namespace regroup
