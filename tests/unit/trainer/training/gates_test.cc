#include "trainer/training/gates.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace regroup {
namespace {

double ByHand(double score, double uniform) {
  const double s = 1.0 / (1.0 + std::exp(-(std::log(uniform / (1.0 - uniform)) + 3.0 * score)));
  return std::min(1.0, std::max(0.0, 0.5 + 1.005 * (s - 0.5)));
}

TEST(GateValuesTest, AreTheStretchedSigmoidClampedToZeroAndOne) {
  const std::vector<double> scores{-8.0, -2.0, -0.7, 0.0, 0.3, 1.1, 2.0, 8.0};
  for (const double uniform : {0.4, 0.5, 0.6}) {
    const at::Tensor values = GateValues(at::tensor(scores, at::kDouble), at::full({8}, uniform, at::kDouble));
    for (int i = 0; i < 8; ++i) EXPECT_NEAR(values[i].item<double>(), ByHand(scores[i], uniform), 1e-12);
  }
}

TEST(GateValuesTest, StartOpenAndCanBeExactlyShut) {
  const at::Tensor noise = at::full({1}, 0.5);
  EXPECT_NEAR(GateValues(at::full({1}, kOpenScore), noise).item<double>(), 1.0, 1e-3);
  EXPECT_EQ(GateValues(at::full({1}, kScoreBound), noise).item<double>(), 1.0);
  EXPECT_EQ(GateValues(at::full({1}, -kScoreBound), noise).item<double>(), 0.0);
}

TEST(GateValuesTest, LetTheGradientPassThroughTheClamp) {
  at::Tensor scores = at::tensor({-3.0, 0.2, 3.0}, at::kDouble).set_requires_grad(true);
  GateValues(scores, at::full({3}, 0.5, at::kDouble)).sum().backward();
  const at::Tensor s = at::sigmoid(3.0 * scores.detach());
  const at::Tensor expected = 1.005 * 3.0 * s * (1.0 - s);
  EXPECT_TRUE(at::allclose(scores.grad(), expected, 1e-10, 0));
  EXPECT_GT(scores.grad().min().item<double>(), 0.0);
}

TEST(ClosedProbabilityTest, IsTheShareOfUniformDrawsThatShutTheGate) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  const std::vector<double> scores{-2.5, -2.0, -1.5, 0.0};
  const at::Tensor probabilities = ClosedProbability(at::tensor(scores, at::kDouble));
  constexpr int kDraws = 200000;
  for (size_t i = 0; i < scores.size(); ++i) {
    int shut = 0;
    for (int draw = 0; draw < kDraws; ++draw) shut += ByHand(scores[i], uniform(random)) == 0.0;
    const double p = probabilities[static_cast<int64_t>(i)].item<double>();
    EXPECT_NEAR(p, static_cast<double>(shut) / kDraws, 5.0 * std::sqrt(p * (1.0 - p) / kDraws) + 1e-9);
  }
}

TEST(GateNoiseTest, DependsOnSeedAndStepAlone) {
  EXPECT_TRUE(at::equal(GateNoise(50, 7, 3), GateNoise(50, 7, 3)));
  EXPECT_FALSE(at::equal(GateNoise(50, 7, 3), GateNoise(50, 7, 4)));
  EXPECT_FALSE(at::equal(GateNoise(50, 7, 3), GateNoise(50, 8, 3)));
}

TEST(GateNoiseTest, IsUniformWithinATenthOfOneHalf) {
  const at::Tensor noise = GateNoise(100000, 1, 2);
  EXPECT_GE(noise.min().item<double>(), 0.4 - 1e-7);
  EXPECT_LE(noise.max().item<double>(), 0.6 + 1e-7);
  EXPECT_NEAR(noise.mean().item<double>(), 0.5, 0.001);
  EXPECT_NEAR(noise.std().item<double>(), 0.2 / std::sqrt(12.0), 0.001);
}

TEST(SparsityScheduleTest, ReachesOneAtTheEndOfTheWarmUp) {
  const SparsitySchedule schedule{.steps = 100};
  EXPECT_NEAR(schedule.TargetAt(0), 1.0 / 30, 1e-12);
  EXPECT_NEAR(schedule.TargetAt(14), 0.5, 1e-12);
  EXPECT_EQ(schedule.TargetAt(29), 1.0);
  EXPECT_EQ(schedule.TargetAt(99), 1.0);
}

TEST(SparsityScheduleTest, ShutsEveryGateForTheLastFifth) {
  const SparsitySchedule schedule{.steps = 100};
  EXPECT_FALSE(schedule.ShutAt(79));
  EXPECT_TRUE(schedule.ShutAt(80));
  // Even the shortest run ends with every gate closed.
  EXPECT_TRUE((SparsitySchedule{.steps = 5}.ShutAt(4)));
}

TEST(SparsityPenaltyTest, IsTheDistanceAndItsSquare) {
  const at::Tensor scores = at::tensor({-1.9, 0.4, -3.0}, at::kDouble);
  double sparsity = 0;
  for (const double score : {-1.9, 0.4, -3.0}) {
    const double threshold = 0.5 - 0.5 / 1.005;
    sparsity += 1.0 / (1.0 + std::exp(-(std::log(threshold / (1.0 - threshold)) - 3.0 * score))) / 3.0;
  }
  for (const double target : {0.1, 0.9}) {
    const double distance = std::abs(sparsity - target);
    EXPECT_NEAR(SparsityPenalty(scores, target).item<double>(), distance + distance * distance, 1e-12);
  }
}

TEST(SteerScoresTest, ReachesEveryTargetOfARun) {
  at::manual_seed(3);
  at::Tensor scores = at::full({40}, kOpenScore) + 0.1 * at::randn({40});
  const SparsitySchedule schedule{.steps = 200};
  for (int64_t step = 0; step < 60; ++step) {
    SteerScores(scores, schedule.TargetAt(step));
    const double behind = schedule.TargetAt(step) - ClosedProbability(scores).mean().item<double>();
    // A gate takes about ten steps to close, during which the target rises by 10 / 60.
    if (step >= 10) EXPECT_LT(behind, 0.2) << "step " << step;
    EXPECT_GT(behind, -0.1) << "step " << step;
  }
  for (int64_t step = 60; step < 90; ++step) SteerScores(scores, 1.0);
  EXPECT_GT(ClosedProbability(scores).min().item<double>(), 0.99);
  EXPECT_EQ(GateValues(scores, GateNoise(40, 1, 1)).abs().max().item<double>(), 0.0);
}

TEST(SteerScoresTest, ClosesTheLowestScoresAndKeepsTheOthersOpen) {
  at::Tensor scores = at::tensor({2.0, -1.0, 0.5, 3.0});
  for (int step = 0; step < 40; ++step) SteerScores(scores, 0.5);
  EXPECT_LT(scores[1].item<double>(), -7.9);
  EXPECT_LT(scores[2].item<double>(), -7.9);
  EXPECT_NEAR(scores[0].item<double>(), kOpenScore, 1e-3);
  EXPECT_EQ(scores[3].item<double>(), 3.0);
}

TEST(SteerScoresTest, KeepsScoresWithinTheBound) {
  at::Tensor scores = at::tensor({50.0, -50.0});
  SteerScores(scores, 0.5);
  EXPECT_LE(scores.abs().max().item<double>(), kScoreBound);
}

}  // namespace
}  // namespace regroup
