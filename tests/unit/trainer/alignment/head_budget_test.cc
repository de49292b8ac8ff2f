#include "trainer/alignment/head_budget.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <random>

namespace regroup {
namespace {

double LossOf(const std::vector<LossOfHeads>& layers, const std::vector<int64_t>& heads) {
  double loss = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer) loss += layers[layer].at(heads[layer]);
  return loss;
}

/// Returns the least loss by trying every combination.
double LeastLoss(const std::vector<LossOfHeads>& layers, int64_t total, size_t layer = 0) {
  if (layer == layers.size()) return total == 0 ? 0.0 : std::numeric_limits<double>::infinity();
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [heads, loss] : layers[layer]) {
    if (heads <= total) least = std::min(least, loss + LeastLoss(layers, total - heads, layer + 1));
  }
  return least;
}

TEST(DivisorsOfTest, RiseFromOneToTheNumberItself) {
  EXPECT_EQ(DivisorsOf(12), (std::vector<int64_t>{1, 2, 3, 4, 6, 12}));
  EXPECT_EQ(DivisorsOf(1), (std::vector<int64_t>{1}));
}

TEST(SpendHeadsTest, GivesMoreHeadsToTheLayerThatLosesMore) {
  const LossOfHeads easy = {{1, 0.1}, {2, 0.05}, {4, 0.0}};
  const LossOfHeads hard = {{1, 3.0}, {2, 2.0}, {4, 0.0}};
  EXPECT_EQ(*SpendHeads({easy, hard, easy}, 6), (std::vector<int64_t>{1, 4, 1}));
}

TEST(SpendHeadsTest, FindsTheLeastLossOfAllCombinations) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<LossOfHeads> layers(5);
    for (LossOfHeads& layer : layers) {
      for (const int64_t heads : DivisorsOf(12)) layer[heads] = std::uniform_real_distribution(0.0, 1.0)(random);
    }
    const auto heads = SpendHeads(layers, 15);
    ASSERT_TRUE(heads.ok());
    EXPECT_EQ(std::accumulate(heads->begin(), heads->end(), int64_t{0}), 15);
    EXPECT_NEAR(LossOf(layers, *heads), LeastLoss(layers, 15), 1e-12);
  }
}

TEST(SpendHeadsTest, SaysSoWhereNoChoiceFits) {
  const auto heads = SpendHeads({{{2, 0.0}, {4, 0.0}}, {{2, 0.0}, {4, 0.0}}}, 5);
  EXPECT_EQ(heads.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace regroup
