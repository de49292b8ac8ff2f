#include "trainer/data/shuffled_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace regroup {
namespace {

TEST(SplitMix64Test, GivesThePublishedSequence) {
  // First numbers for seed 1234567, as the generator's authors and many implementations list them.
  SplitMix64 random(1234567);
  EXPECT_EQ(random.Next(), 6457827717110365317u);
  EXPECT_EQ(random.Next(), 3203168211198807973u);
  EXPECT_EQ(random.Next(), 9817491932198370423u);
}

TEST(ShuffledOrderTest, IsAPermutationThatDependsOnlyOnTheSeed) {
  std::vector<int64_t> order = ShuffledOrder(1000, 5);
  EXPECT_EQ(order, ShuffledOrder(1000, 5));
  EXPECT_NE(order, ShuffledOrder(1000, 6));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
  EXPECT_TRUE(ShuffledOrder(0, 1).empty());
}

TEST(ShuffledOrderTest, PutsEachIndexInEachPlaceAboutEquallyOften) {
  int counts[5][5] = {};
  constexpr int kSeeds = 20000;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const std::vector<int64_t> order = ShuffledOrder(5, static_cast<uint64_t>(seed));
    for (int place = 0; place < 5; ++place) ++counts[place][order[place]];
  }
  // The standard deviation of a count is 57; five standard deviations are 283.
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, kSeeds / 5, 283);
  }
}

}  // namespace
}  // namespace regroup
