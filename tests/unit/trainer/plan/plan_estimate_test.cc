#include "trainer/plan/plan_estimate.h"

#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/plan/training_memory.h"

namespace regroup {
namespace {

int64_t Count(const Model& model) {
  Model slots = model;
  int64_t count = 0;
  VisitParameters(slots, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) count += tensor.numel();
  });
  return count;
}

TEST(PlanEstimateTest, KnowsTheParametersOfTheResult) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  EXPECT_EQ(ParametersWith(config, parameters, 4), parameters);
  EXPECT_EQ(ParametersWith(config, parameters, 1), Count(RandomModel(SmallConfig(1), false, 1)));
}

TEST(PlanEstimateTest, CountsTwoOperationsForEachWeightOfAProduct) {
  // 2 layers: Q and O 24 x 10 each, K and V of 2 heads 12 x 10 each, three of 14 x 10; the output 23 x 10.
  const double weights = 2 * (2 * 240 + 2 * 120 + 3 * 140) + 230;
  EXPECT_DOUBLE_EQ(ForwardFlops(SmallConfig(4), 2, 0), 2 * weights);
  // Attention over 8 tokens: 4 on average, times keys and values, times 24 entries, times 2 layers.
  EXPECT_DOUBLE_EQ(ForwardFlops(SmallConfig(4), 2, 8), 2 * (weights + 2 * 2 * 24 * 4));
}

TEST(PlanEstimateTest, RanksShareTheStateAndGatesKeepTheOriginalHeads) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  const double alone = TrainingBytes(config, parameters, training);
  training.ranks = 2;
  const double student = static_cast<double>(ParametersWith(config, parameters, 2));
  EXPECT_DOUBLE_EQ(alone - TrainingBytes(config, parameters, training), student * (4 + 8) / 2);
  training.gated = true;
  EXPECT_GT(TrainingBytes(config, parameters, training), alone - student * 6);
}

TEST(PlanEstimateTest, MeasurementsTakeTheirMemoryInPlaceOfABackwardPass) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  const double alone = TrainingBytes(config, parameters, training);
  training.measured_tokens = 16;
  EXPECT_DOUBLE_EQ(TrainingBytes(config, parameters, training), alone) << "less than a step";
  training.measured_tokens = 1 << 20;
  const double twice = TrainingBytes(config, parameters, training);
  training.measured_tokens = 1 << 21;
  // A pass without gradients holds 2 hidden and 6 attention entries of float32 for each token.
  EXPECT_DOUBLE_EQ(TrainingBytes(config, parameters, training) - twice, 4.0 * (1 << 20) * (2 * 10 + 6 * 24));
  EXPECT_GT(twice, alone);
}

TEST(PlanEstimateTest, ShardedGradientsAreDividedByTheRanks) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 2,
                           .ranks = 4,
                           .micro_batch_tokens = 16,
                           .sequence_length = 16,
                           .element_bytes = 2,
                           .sums_apart = true};
  const double all = TrainingBytes(config, parameters, training);
  training.sharding = Sharding::kGradients;
  const double student = static_cast<double>(ParametersWith(config, parameters, 2));
  // Gradients in 2 bytes, their sums in 4 and a slice of 2 become a slice of 4. While the only bucket is summed, it has
  // them in 2 and in 4 bytes, and the sum of the slice.
  EXPECT_DOUBLE_EQ(all - TrainingBytes(config, parameters, training),
                   student * (2 + 4 + 2 / 4.0 - 4 / 4.0) - student * (2 + 4 + 4 / 4.0));
}

TEST(PlanEstimateTest, SlicedBlocksAreDividedByTheRanks) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 4,
                           .ranks = 1,
                           .micro_batch_tokens = 16,
                           .sequence_length = 16,
                           .element_bytes = 2,
                           .sharding = Sharding::kAll};
  const double alone = TrainingBytes(config, parameters, training);
  training.ranks = 4;
  // Two layers have queries, keys, values and outputs of 24 x 10, and three maps of 14 x 10. Each entry has 2 bytes in
  // the teacher, 2 in the student, and 4 of gradients, moments and master weights each; one layer's sum has 4 more.
  const double blocks = 2 * (4 * 24 * 10 + 3 * 14 * 10);
  const double outer = static_cast<double>(parameters) - blocks;
  EXPECT_NEAR(alone - TrainingBytes(config, parameters, training),
              0.75 * (blocks * (2 + 2 + 4 + 4 + 4 + 4) + blocks / 2 * 4 + outer * (4 + 4 + 4 + 4)), 1e-6);
}

TEST(PlanEstimateTest, AGpuHoldsOneModelAtATime) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedEvaluation evaluation{.kv_heads = 2, .cached_sequences = 1, .cached_tokens = 50};
  const double source = 4.0 * static_cast<double>(parameters) + 50.0 * config.KvCacheBytesPerToken(4);
  const double result =
      4.0 * static_cast<double>(ParametersWith(config, parameters, 2)) + 25.0 * config.KvCacheBytesPerToken(4);
  EXPECT_DOUBLE_EQ(EvaluationBytes(config, parameters, evaluation), source + 2 * result);
  evaluation.in_turns = false;
  EXPECT_DOUBLE_EQ(EvaluationBytes(config, parameters, evaluation), source);
}

TEST(PlanEstimateTest, RecomputingKeepsLess) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  const double all = TrainingBytes(config, parameters, training);
  training.recompute = Recompute::kFeedForward;
  // Of 2 layers, one has its four steps of width 14.
  EXPECT_DOUBLE_EQ(all - TrainingBytes(config, parameters, training), 4 * 16 * 4 * 14);
  training.recompute = Recompute::kBlock;
  // One has nothing but its input of width 10.
  EXPECT_DOUBLE_EQ(all - TrainingBytes(config, parameters, training),
                   4 * 16 * (2 * (60 + 120 + 56) - 2 * 10 - (60 + 120 + 56)));
}

TEST(PlanEstimateTest, AttentionAloneHasLessState) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  const double all = TrainingBytes(config, parameters, training);
  training.attention_only = true;
  // Weights, gradients, their shard and two moments, of what is not attention, and the gradient of the output
  // projection, 23 x 10, which the loss computes.
  const int64_t attention = 2 * 2 * 240 + 2 * 2 * 120;
  EXPECT_DOUBLE_EQ(all - TrainingBytes(config, parameters, training),
                   20.0 * static_cast<double>(ParametersWith(config, parameters, 2) - attention) + 4 * 230);
}

TEST(PlanEstimateTest, AdaptersHaveTheStateOfTheirOwnAndOfTheSharedHeads) {
  const ModelConfig config = SmallConfig(4);
  const int64_t parameters = Count(RandomModel(config, false, 1));
  PlannedTraining training{.kv_heads = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  const double all = TrainingBytes(config, parameters, training);
  training.adapter_rank = 3;
  // Two layers: queries and outputs 24 x 10, three maps 14 x 10, keys and values of 2 heads of 6 rows.
  const double trained = 3.0 * 2 * (2 * 34 + 3 * 24) + 2 * 2 * 2 * 6 * 10;
  const double attention = 2 * 2 * 240, adapted = attention + 2 * 3 * 140;
  EXPECT_DOUBLE_EQ(TrainingBytes(config, parameters, training),
                   all - 20.0 * (static_cast<double>(ParametersWith(config, parameters, 2)) - trained) +
                       4 * (attention + adapted) - 4 * 230);
}

TEST(TrainingMemoryTest, RefusesWhatTheMachineCannotHold) {
  const ModelConfig config = SmallConfig(4);
  const PlannedTraining training{.kv_heads = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  EXPECT_TRUE(CheckTrainingMemory(config, 1000, training, 1).ok());
  const absl::Status refused = CheckTrainingMemory(config, 1'000'000'000'000, training, 1);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("recompute: block"), std::string_view::npos) << refused;
}

TEST(TrainingMemoryTest, RefusesWhatAGpuCannotHold) {
  const ModelConfig config = SmallConfig(4);
  const PlannedTraining training{.kv_heads = 2, .ranks = 2, .micro_batch_tokens = 16, .sequence_length = 16};
  const auto check = [&](double gib, double allowance) {
    return CheckGpuTrainingMemory(config, 1000, training, gib * (1 << 30), allowance);
  };
  EXPECT_TRUE(check(2.0, kEstimateError).ok());
  EXPECT_FALSE(check(1.4, 0).ok());
  EXPECT_TRUE(check(1.4, kEstimateError).ok()) << "within the estimate's error";
  const absl::Status refused = check(1.0, kEstimateError);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("which has 1.0 GiB; to reduce memory: shard: all"), std::string_view::npos)
      << refused;
}

}  // namespace
}  // namespace regroup
