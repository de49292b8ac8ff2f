// Tests optimizer state that is sharded over ranks. Run alone, and by mpirun with two, three and four ranks.
//
// By the ring model of communicator.h, one rank of n sends in a step, for groups of P entries of b bytes:
//
//   (n-1)/n (gradients + parameters) + 2 (n-1)/n 16
//
// where gradients = parameters = sum over buckets of b S, and S = n roundup(P / n, 64) is a bucket with its padding.
// With several micro-batches gradients have 4 bytes. The first part is the reduce-scatter and the all-gather; the
// second the sum of two float64 squared norms. In stage 2 each micro-batch has a reduce-scatter of its own, always of 4
// bytes an entry.
//
// Between backward passes a rank keeps of the gradients, for P entries of b bytes on n ranks: b P + b P / n in stage 1,
// 4 P more and 4 instead of b in its slice once micro-batches of less than float32 have been summed; 4 P / n in
// stage 2.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/unit/trainer/fixtures/regression.h"
#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

/// Runs in stage 1, and with true in stage 2.
class StageTest : public testing::TestWithParam<bool> {
 protected:
  static AdamWOptions Options() { return {.bucket_bytes = 4900, .shard_gradients = GetParam()}; }
};

INSTANTIATE_TEST_SUITE_P(Stages, StageTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "ShardsGradients" : "ShardsItsState"; });

TEST_P(StageTest, SharingTheBatchOverRanksTrainsTheSameWeights) {
  const auto self = MakeSelfCommunicator();
  Regression alone(*self), together(World(), at::kFloat, Options());
  const at::Tensor start = alone.Weights();
  for (int step = 0; step < 100; ++step) {
    const double norm = alone.Step(step);
    EXPECT_NEAR(together.Step(step), norm, 1e-5 * norm) << "step " << step;
  }
  EXPECT_LT((together.Weights() - alone.Weights()).abs().max().item<double>(), 1e-6);
  EXPECT_GT((together.Weights() - start).abs().max().item<double>(), 0.01);
}

TEST_P(StageTest, EveryRankEndsWithTheSameBits) {
  Regression together(World(), at::kFloat, Options());
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

/// Evaluates the model above. Each call rounds down, so at most one byte less per call is sent.
double ModelOfBytesSent(const std::vector<int64_t>& buckets, int64_t gradient_bytes, int64_t parameter_bytes) {
  const int64_t ranks = World().size();
  double padded = 0;
  for (const int64_t entries : buckets) {
    const int64_t shard = (entries + ranks - 1) / ranks;
    padded += static_cast<double>(ranks * ((shard + 63) / 64 * 64));
  }
  const double share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  return share * (static_cast<double>(gradient_bytes + parameter_bytes) * padded + 2.0 * 16.0);
}

/// Gives each of Regression's parameters its own bucket.
constexpr AdamWOptions kSmallBuckets{.bucket_bytes = 64};

class BytesSentTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  /// Returns the bytes sent in one step.
  static double Sent(Regression& model, int64_t micro_batches = 1) {
    constexpr int kSteps = 3;
    const int64_t before = World().bytes_sent();
    for (int step = 0; step < kSteps; ++step) model.Step(step, micro_batches);
    return static_cast<double>(World().bytes_sent() - before) / kSteps;
  }
  static int64_t EntryBytes() { return GetParam() == at::kFloat ? 4 : 2; }
};

TEST_P(BytesSentTest, AreThoseOfTheModel) {
  Regression together(World(), GetParam());
  EXPECT_NEAR(Sent(together), ModelOfBytesSent({40 * 30 + 40 + 5 * 40, 5}, EntryBytes(), EntryBytes()), 5.0);
}

TEST_P(BytesSentTest, AreThoseOfTheModelInManyBucketsBesideTheBackwardPass) {
  Regression together(World(), GetParam(), kSmallBuckets);
  EXPECT_NEAR(Sent(together), ModelOfBytesSent({40 * 30, 40, 5 * 40, 5}, EntryBytes(), EntryBytes()), 9.0);
}

TEST_P(BytesSentTest, OfGradientsThatWereSummedOverMicroBatchesAreFourAnEntry) {
  if (12 % (2 * World().size()) != 0) GTEST_SKIP() << "the batch has no two micro-batches a rank";
  Regression together(World(), GetParam());
  EXPECT_NEAR(Sent(together, 2), ModelOfBytesSent({40 * 30 + 40 + 5 * 40, 5}, 4, EntryBytes()), 5.0);
}

TEST_P(BytesSentTest, InStage2AreFourAGradientOfEachMicroBatch) {
  for (const int64_t micro_batches : {1, 2}) {
    if (12 % (micro_batches * World().size()) != 0) continue;
    Regression together(World(), GetParam(), {.shard_gradients = true});
    EXPECT_NEAR(Sent(together, micro_batches),
                ModelOfBytesSent({40 * 30 + 40 + 5 * 40, 5}, 4 * micro_batches, EntryBytes()), 9.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, BytesSentTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(ZeroTest, BothStagesTrainTheSameWeights) {
  for (const int64_t micro_batches : {1, 3}) {
    if (12 % (micro_batches * World().size()) != 0) continue;
    for (const bool overlap : {false, true}) {
      Regression first(World(), at::kFloat, {.bucket_bytes = 64, .overlap = overlap});
      Regression second(World(), at::kFloat, {.bucket_bytes = 64, .shard_gradients = true, .overlap = overlap});
      for (int step = 0; step < 50; ++step) {
        const double norm = first.Step(step, micro_batches);
        EXPECT_NEAR(second.Step(step, micro_batches), norm, 1e-6 * norm);
      }
      EXPECT_LT((first.Weights() - second.Weights()).abs().max().item<double>(), 1e-6);
    }
  }
}

TEST(ZeroTest, Stage2SumsBfloat16InFloat32) {
  // 1 and 2^-8 add up to a number that bfloat16 rounds down to 1.
  at::Tensor weight = at::zeros({64 * 8}, at::kBFloat16);
  ShardedAdamW optimizer({{.name = "base", .parameters = {&weight}}}, {.clip_norm = 0, .shard_gradients = true},
                         World());
  optimizer.ZeroGradients();
  for (const double gradient : {1.0, 1.0 / 256}) {
    optimizer.BeginBackward(/*is_last=*/gradient < 1);
    (weight * gradient).sum().backward();
    if (gradient == 1) ASSERT_TRUE(optimizer.AccumulateGradients().ok());
  }
  const double each = World().size() * (1 + 1.0 / 256);
  EXPECT_NEAR(*optimizer.Step(1e-3), each * std::sqrt(512.0), 1e-5 * each * std::sqrt(512.0));
}

TEST(ZeroTest, KeepsTheGradientsOfTheModelAboveAndNoMore) {
  constexpr double kEntries = 512 * 400;
  const double ranks = World().size();
  for (const double bytes : {4.0, 2.0}) {
    for (const bool shard : {false, true}) {
      at::Tensor matrix = at::zeros({512, 400}, bytes == 4 ? at::kFloat : at::kBFloat16);
      ShardedAdamW optimizer({{.name = "base", .parameters = {&matrix}}}, {.shard_gradients = shard}, World());
      optimizer.ZeroGradients();
      for (const bool is_last : {false, true}) {
        optimizer.BeginBackward(is_last);
        matrix.sum().backward();
        if (!is_last) ASSERT_TRUE(optimizer.AccumulateGradients().ok());
      }
      ASSERT_TRUE(optimizer.Step(1e-3).ok());
      const double sums = bytes < 4 ? 4 * kEntries : 0;
      const double model = shard ? 4 * kEntries / ranks : bytes * kEntries + sums + 4 * kEntries / ranks;
      EXPECT_NEAR(static_cast<double>(optimizer.GradientBytes()), model, 0.02 * model);
      EXPECT_EQ(matrix.grad().defined(), !shard) << "in stage 2 no gradient is left at the parameter";
    }
  }
}

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

TEST_P(StageTest, ANonFiniteGradientOfOneRankStopsTheStepOnEveryRank) {
  at::Tensor matrix = at::ones({10, 10}), scores = at::ones({3});
  ShardedAdamW optimizer(
      {{.name = "base", .parameters = {&matrix}}, {.name = "gates", .parameters = {&scores}, .clipped = false}},
      Options(), World());
  for (at::Tensor* hit : {&matrix, &scores}) {
    optimizer.ZeroGradients();
    optimizer.BeginBackward(/*is_last=*/true);
    const bool last = World().rank() == World().size() - 1;
    (hit->sum() * (last ? std::numeric_limits<double>::infinity() : 1.0)).backward();
    const auto norm = optimizer.Step(0.1);
    ASSERT_TRUE(norm.ok());
    EXPECT_FALSE(std::isfinite(*norm));
    EXPECT_TRUE(at::equal(matrix.detach(), at::ones({10, 10})));
    EXPECT_TRUE(at::equal(scores.detach(), at::ones({3})));
  }
  // Nothing of the skipped steps is left in the next one.
  optimizer.ZeroGradients();
  optimizer.BeginBackward(/*is_last=*/true);
  matrix.sum().backward();
  EXPECT_NEAR(*optimizer.Step(0.1), World().size() * 10.0, 1e-4);
}

}  // namespace
}  // namespace regroup
