#include "trainer/eval/decode_speed.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/slow_transformer.h"

namespace regroup {
namespace {

TEST(DecodeSpeedTest, CountsTheBytesThatAStepReads) {
  const Model source = RandomModel(SmallConfig(4), false, 1);
  const Model result = RandomModel(SmallConfig(2), false, 1);
  const DecodeCase setting{.batch = 3, .context = 8, .new_tokens = 10};
  const std::vector<DecodeSpeed> speeds = MeasureDecodeSpeed({&source, &result}, setting);
  ASSERT_EQ(speeds.size(), 2u);
  // 2 layers x (keys and values) x width 6 x 4 bytes = 96 bytes per head and token.
  EXPECT_EQ(speeds[0].cache_bytes, 96 * 4 * 8 * 3);
  EXPECT_EQ(speeds[1].cache_bytes, 96 * 2 * 8 * 3);
  for (const DecodeSpeed& speed : speeds) {
    EXPECT_EQ(speed.cache_bytes, speed.computed_cache_bytes);
    EXPECT_EQ(speed.step_seconds.size(), 10u);
    EXPECT_GT(speed.prefill_seconds, 0);
    EXPECT_GT(speed.StepSeconds(0.5), 0);
  }
  // In the middle of the measurement, 13 tokens are in the cache.
  EXPECT_EQ(speeds[0].step_bytes, speeds[0].weight_bytes + 96 * 4 * 13 * 3);
  // Both layers lose K and V of half the heads, at hidden size 10.
  EXPECT_EQ(speeds[0].weight_bytes - speeds[1].weight_bytes, 2 * 2 * (2 * 6) * 10 * 4);
}

TEST(DecodeSpeedTest, ReadsTheEmbeddingOnlyWhereItIsTheOutputProjection) {
  ModelConfig config = SmallConfig(4);
  const int64_t apart = DecodedWeightBytes(RandomModel(config, false, 1), 1);
  config.tied_embeddings = true;
  EXPECT_EQ(DecodedWeightBytes(RandomModel(config, false, 1), 1), apart);
}

TEST(DecodeSpeedTest, AnEncoderDecoderReadsItsEncoderOnlyForThePrefill) {
  Model model = RandomEncoderDecoder(1);
  for (const bool prefill : {true, false}) {
    const DecodeSpeed speed =
        MeasureDecodeSpeed({&model}, {.batch = 3, .context = 8, .new_tokens = 2, .prefill = prefill}).front();
    // 2 layers x (keys and values) x 2 heads x width 6 x 4 bytes: the decoder's own tokens and the encoder's.
    EXPECT_EQ(speed.cache_bytes, 2 * 2 * 2 * 6 * 4 * 8 * 3);
    EXPECT_EQ(speed.cache_bytes, speed.computed_cache_bytes);
  }
  const int64_t read = DecodedWeightBytes(model, 1);
  // Queries and outputs of both attentions, keys and values of one, hidden size 10; a gated feed-forward of 14; norms;
  // the table of positions; the output head.
  const int64_t attentions = 2 * 2 * 10 * 24 + 2 * 10 * 12, feed_forward = 3 * 10 * 14;
  EXPECT_EQ(read, 4 * (attentions + feed_forward + 4 * 10 + 8 * 4 + 23 * 10));
}

TEST(DecodeSpeedTest, ReadsNoMoreTokensThanItMeasures) {
  ModelConfig config = SmallConfig(4);
  config.learned_positions = 12;
  Model model = RandomModel(config, false, 1);
  model.positions = at::randn({12, config.hidden_size});
  for (const int64_t steps : {1, 2, 5}) {
    const DecodeCase setting{.batch = 1, .context = 12 - steps, .new_tokens = steps};
    EXPECT_EQ(MeasureDecodeSpeed({&model}, setting).front().step_seconds.size(), static_cast<size_t>(steps));
  }
}

TEST(DecodeSpeedTest, MeasuresWithoutPrefillAndTellsHowFarItIs) {
  const Model model = RandomModel(SmallConfig(4), false, 1);
  int64_t last = 0, total = 0;
  const std::vector<DecodeSpeed> speeds =
      MeasureDecodeSpeed({&model}, {.batch = 1, .context = 20, .new_tokens = 3, .prefill = false},
                         [&](int64_t done, int64_t all) { last = done, total = all; });
  EXPECT_EQ(last, total);
  EXPECT_EQ(speeds[0].step_seconds.size(), 3u);
  EXPECT_EQ(speeds[0].prefill_seconds, 0);
  EXPECT_EQ(speeds[0].cache_bytes, 96 * 4 * 20);
}

TEST(DecodeSpeedTest, AShareOfTheStepsWasAtMostThatLong) {
  const DecodeSpeed speed{.step_seconds = {5, 1, 3, 2, 4}};
  EXPECT_EQ(speed.StepSeconds(0), 1);
  EXPECT_EQ(speed.StepSeconds(0.5), 3);
  EXPECT_EQ(speed.StepSeconds(1), 5);
  EXPECT_EQ(speed.TokensPerSecond(6), 2);
}

}  // namespace
}  // namespace regroup
