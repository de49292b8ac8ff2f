// The optimizer's state sharded over ranks. Run alone, and by mpirun with two, three and four ranks.
//
// What one rank of n sends in a step, by the ring model of communicator.h, for groups of P entries of b bytes:
//
//   (n-1)/n (gradients + parameters) + 2 (n-1)/n 16
//
// where gradients = parameters = sum over groups of b S, and S = n roundup(P / n, 64) is the group with its padding.
// The first part is the reduce-scatter and the all-gather; the second the sum of two float64 squared norms.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "regression.h"
#include "world.h"

namespace regroup {
namespace {

TEST(ZeroTest, SharingTheBatchOverRanksTrainsTheSameWeights) {
  const auto self = MakeSelfCommunicator();
  Regression alone(*self), together(World());
  const at::Tensor start = alone.Weights();
  for (int step = 0; step < 100; ++step) {
    const double norm = alone.Step(step);
    EXPECT_NEAR(together.Step(step), norm, 1e-5 * norm) << "step " << step;
  }
  EXPECT_LT((together.Weights() - alone.Weights()).abs().max().item<double>(), 1e-6);
  EXPECT_GT((together.Weights() - start).abs().max().item<double>(), 0.01);
}

TEST(ZeroTest, EveryRankEndsWithTheSameBits) {
  Regression together(World());
  for (int step = 0; step < 5; ++step) together.Step(step);
  const at::Tensor mine = together.Weights();
  at::Tensor all = at::empty({mine.numel() * World().size()});
  ASSERT_TRUE(World().AllGather(mine, all).ok());
  for (int rank = 0; rank < World().size(); ++rank) {
    EXPECT_TRUE(at::equal(all.narrow(0, rank * mine.numel(), mine.numel()), mine));
  }
}

TEST(ZeroTest, HoldsTwelveBytesPerParameterDividedByTheRanks) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    at::Tensor matrix = at::zeros({499, 401}, dtype), scores = at::zeros({96});
    ShardedAdamW optimizer({{.name = "base", .parameters = {&matrix}}, {.name = "gates", .parameters = {&scores}}}, {},
                           World());
    const double ideal = 12.0 * (499 * 401 + 96) / World().size();
    EXPECT_NEAR(static_cast<double>(optimizer.StateBytes()), ideal, 0.02 * ideal);
  }
}

/// The model above. Rounded down in each of the calls: at most one byte a call less is sent.
double ModelOfBytesSent(const std::vector<int64_t>& groups, int64_t entry_bytes) {
  const int64_t ranks = World().size();
  double padded = 0;
  for (const int64_t entries : groups) {
    const int64_t shard = (entries + ranks - 1) / ranks;
    padded += static_cast<double>(ranks * ((shard + 63) / 64 * 64));
  }
  const double share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  return share * (2.0 * static_cast<double>(entry_bytes) * padded + 2.0 * 16.0);
}

class BytesSentTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(BytesSentTest, AreThoseOfTheModel) {
  Regression together(World(), GetParam());
  const int64_t before = World().bytes_sent();
  constexpr int kSteps = 3;
  for (int step = 0; step < kSteps; ++step) together.Step(step);
  const double sent = static_cast<double>(World().bytes_sent() - before) / kSteps;
  const int64_t entry_bytes = GetParam() == at::kFloat ? 4 : 2;
  EXPECT_NEAR(sent, ModelOfBytesSent({40 * 30 + 40 + 5 * 40, 5}, entry_bytes), 5.0);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, BytesSentTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(ZeroTest, ForALargeGroupSendsOnceTheGradientsAndOnceTheParameters) {
  at::Tensor matrix = at::ones({1000, 1000});
  ShardedAdamW optimizer({{.name = "base", .parameters = {&matrix}}}, {}, World());
  optimizer.ZeroGradients();
  matrix.sum().backward();
  const int64_t before = World().bytes_sent();
  ASSERT_TRUE(optimizer.Step(1e-3).ok());
  const double ranks = World().size();
  const double ideal = 2.0 * 4e6 * (ranks - 1) / ranks;
  EXPECT_NEAR(static_cast<double>(World().bytes_sent() - before), ideal, 1e-3 * ideal);
}

TEST(ZeroTest, ANonFiniteGradientOfOneRankStopsTheStepOnEveryRank) {
  at::Tensor matrix = at::ones({10, 10}), scores = at::ones({3});
  ShardedAdamW optimizer(
      {{.name = "base", .parameters = {&matrix}}, {.name = "gates", .parameters = {&scores}, .clipped = false}}, {},
      World());
  for (at::Tensor* hit : {&matrix, &scores}) {
    optimizer.ZeroGradients();
    const bool last = World().rank() == World().size() - 1;
    (hit->sum() * (last ? std::numeric_limits<double>::infinity() : 1.0)).backward();
    const auto norm = optimizer.Step(0.1);
    ASSERT_TRUE(norm.ok());
    EXPECT_FALSE(std::isfinite(*norm));
    EXPECT_TRUE(at::equal(matrix.detach(), at::ones({10, 10})));
    EXPECT_TRUE(at::equal(scores.detach(), at::ones({3})));
  }
}

}  // namespace
}  // namespace regroup
