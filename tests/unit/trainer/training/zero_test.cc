// The optimizer's state sharded over ranks. Run alone, and by mpirun with two and three ranks.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

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

TEST(ZeroTest, SendsWhatOneReduceScatterAndOneAllGatherCost) {
  Regression together(World());
  const int64_t before = World().bytes_sent();
  together.Step(0);
  const double sent = static_cast<double>(World().bytes_sent() - before);
  const double parameters = static_cast<double>(together.Weights().numel());
  const double ranks = World().size();
  // Of the padded buffers: at most 64 entries a rank and group more.
  EXPECT_GE(sent, 2.0 * 4.0 * parameters * (ranks - 1) / ranks);
  EXPECT_LE(sent, (2.0 * 4.0 * (parameters + 2 * 64 * ranks) + 2.0 * 16) * (ranks - 1) / ranks);
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
