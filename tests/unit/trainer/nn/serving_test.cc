#include "trainer/nn/serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::ElementsAre;

/// LLaMA-2-7B, of which a token takes 512 KiB of cache in 16 bits.
ModelConfig Llama7b(int64_t kv_heads) {
  ModelConfig config;
  config.layers = 32;
  config.heads = 32;
  config.kv_heads = kv_heads;
  config.head_width = 128;
  config.max_positions = 4096;
  return config;
}

constexpr double kGiB = 1 << 30;

TEST(ServingTest, CountsWhatFitsBesideTheWeights) {
  // 90 % of 80 GiB are 77,309,411,328 bytes.
  ServingSettings settings{.usable_bytes = 72 * kGiB, .weight_bytes = 2.0 * 6'738'415'616, .context_length = 4096};
  const Serving source = ServingOf(Llama7b(32), settings);
  EXPECT_EQ(source.kv_bytes_per_token, 524'288);
  ASSERT_TRUE(source.capacity.has_value());
  EXPECT_EQ(source.capacity->tokens, 121'750);
  EXPECT_EQ(source.capacity->requests, 29);
  EXPECT_EQ(source.capacity->longest_context, 4096);
  settings.weight_bytes = 2.0 * 5'798'891'520;
  const Serving result = ServingOf(Llama7b(4), settings);
  EXPECT_EQ(result.kv_bytes_per_token, 65'536);
  EXPECT_EQ(result.capacity->tokens, 1'002'679);
  EXPECT_EQ(result.capacity->requests, 244);
}

TEST(ServingTest, EachGpuHoldsAtLeastOneHead) {
  const auto bytes = [](int64_t kv_heads, int64_t gpus) {
    return ServingOf(Llama7b(kv_heads), {.gpus = gpus}).kv_bytes_per_token;
  };
  EXPECT_EQ(bytes(8, 4), 32'768);
  EXPECT_EQ(bytes(8, 8), 16'384);
  EXPECT_EQ(bytes(4, 8), 16'384) << "each head is held twice";
  EXPECT_EQ(bytes(1, 8), 16'384);
  EXPECT_EQ(ServingOf(Llama7b(8), {.gpus = 4}).kv_heads_per_gpu, 2);
  EXPECT_FALSE(ServingOf(Llama7b(8), {.gpus = 4}).capacity.has_value());
}

TEST(ServingTest, HeadsThatCannotBeDistributedEqually) {
  EXPECT_FALSE(CanBeSplit(Llama7b(12), 8)) << "12 heads are neither shared nor copied equally";
  EXPECT_FALSE(CanBeSplit(Llama7b(3), 2));
  EXPECT_FALSE(CanBeSplit(Llama7b(32), 3)) << "query heads";
  EXPECT_TRUE(CanBeSplit(Llama7b(2), 8));
  ModelConfig unequal = Llama7b(4);
  unequal.kv_heads_of_layers.assign(32, 4);
  EXPECT_TRUE(CanBeSplit(unequal, 2));
  unequal.kv_heads_of_layers[7] = 3;
  EXPECT_FALSE(CanBeSplit(unequal, 2));
  EXPECT_EQ(ServingOf(unequal, {.gpus = 2}).kv_bytes_per_token, 0);
}

TEST(ServingTest, LayersWithUnequalHeadsAreSummed) {
  ModelConfig config = Llama7b(8);
  config.layers = 3;
  config.kv_heads_of_layers = {8, 4, 1};
  EXPECT_EQ(ServingOf(config, {.gpus = 1}).kv_bytes_per_token, 2 * 13 * 128 * 2);
  EXPECT_EQ(ServingOf(config, {.gpus = 4}).kv_bytes_per_token, 2 * (2 + 1 + 1) * 128 * 2);
}

TEST(ServingTest, AWindowBoundsTheCacheOfARequest) {
  ModelConfig config = Llama7b(32);
  config.kinds[0].sliding_window = 1024;
  const ServingSettings settings{.usable_bytes = 2048.0 * 524'288, .context_length = 4096};
  EXPECT_EQ(ServingOf(config, settings).capacity->requests, 2);
  EXPECT_EQ(ServingOf(config, settings).capacity->longest_context, 4096);
  config.kinds[0].sliding_window = 0;
  EXPECT_EQ(ServingOf(config, settings).capacity->requests, 0);
  EXPECT_EQ(ServingOf(config, settings).capacity->longest_context, 2048);
}

TEST(ServingTest, OnlyLayersWithoutWindowGrowWithTheContext) {
  ModelConfig config = Llama7b(32);  // 16,384 bytes a token and layer, 32 layers.
  config.kinds = {{.sliding_window = 1024}, {}};
  for (int64_t layer = 0; layer < config.layers; ++layer) config.kind_of_layers.push_back(layer % 4 == 3 ? 1 : 0);
  const double request = 16'384.0 * (24 * 1024 + 8 * 4096);
  const ServingSettings settings{.usable_bytes = 2.5 * request, .context_length = 4096};
  EXPECT_EQ(ServingOf(config, settings).capacity->requests, 2);
  const ServingSettings small{.usable_bytes = 16'384.0 * (24 * 1024 + 8 * 1500) + 9, .context_length = 4096};
  EXPECT_EQ(ServingOf(config, small).capacity->requests, 0);
  EXPECT_EQ(ServingOf(config, small).capacity->longest_context, 1500);
}

TEST(ServingTest, SaysWhichPartOfTheCacheGrows) {
  ModelConfig config = Llama7b(32);
  config.kinds = {{.sliding_window = 1024}, {}};
  for (int64_t layer = 0; layer < config.layers; ++layer) config.kind_of_layers.push_back(layer % 4 == 3 ? 1 : 0);
  ModelConfig result = config;
  result.kv_heads = 8;
  EXPECT_EQ(
      NoteOnCache(config, result, 2),
      "the cache of 24 of the 32 layers stops growing at the layer's window of 1,024 tokens; beyond it a token adds "
      "131,072 of 524,288 B to the cache of the source, and 32,768 of 131,072 B to that of the result");
  EXPECT_THAT(NoteOnCache(config, config, 2), testing::EndsWith("a token adds 131,072 of 524,288 B to the cache"));
  config.kinds[0].sliding_window = config.max_positions;
  EXPECT_EQ(NoteOnCache(config, config, 2), "");
  EXPECT_EQ(NoteOnCache(Llama7b(32), Llama7b(8), 2), "");
}

TEST(ServingTest, AnEncoderHasNoCacheThatCouldStopGrowing) {
  ModelConfig config = Llama7b(32);
  config.encoder_layers = 8;  // And 12 layers of the decoder, each with two attentions.
  config.kinds = {{.sliding_window = 1024}, {}};
  config.kind_of_layers.assign(8, 0);
  config.kind_of_layers.resize(32, 1);
  EXPECT_EQ(NoteOnCache(config, config, 2), "");
  config.kind_of_layers[8] = 0;
  EXPECT_THAT(NoteOnCache(config, config, 2), testing::StartsWith("the cache of 1 of the 24 layers that have one "));
  config.max_positions = 2 * 1024;
  EXPECT_EQ(NoteOnCache(config, config, 2), "") << "each stack has half of the positions";
}

TEST(ServingTest, SaysWhatTheCrossAttentionKeepsOfAClip) {
  ModelConfig config = Llama7b(32);
  config.layers = 6;
  config.encoder_layers = 2;  // And two layers of the decoder, each with two attentions.
  config.spectrogram = {.mel_bins = 80, .frames = 3000};
  ModelConfig result = config;
  result.kv_heads = 8;
  // 2 layers, keys and values, 32 or 8 heads of 128, 1,500 positions, 2 bytes.
  EXPECT_EQ(NoteOnCache(config, result, 2),
            "the cross attention keeps 49,152,000 B of every clip in the cache of the source, and 12,288,000 B in that "
            "of the result, beside the bytes of each token");
  EXPECT_EQ(NoteOnCache(config, config, 2),
            "the cross attention keeps 49,152,000 B of every clip in the cache, beside the bytes of each token");
}

TEST(ServingTest, WeightsThatDoNotFitLeaveNothing) {
  const Serving serving = ServingOf(Llama7b(32), {.usable_bytes = 1e9, .weight_bytes = 2e9, .context_length = 10});
  EXPECT_EQ(serving.capacity->tokens, 0);
  EXPECT_EQ(serving.capacity->longest_context, 0);
}

TEST(ServingTest, ShowsTheWantedNumberOfGpusToo) {
  EXPECT_THAT(GpuCounts(std::nullopt), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(GpuCounts(4), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(GpuCounts(3), ElementsAre(1, 2, 3, 4, 8));
  EXPECT_THAT(GpuCounts(16), ElementsAre(1, 2, 4, 8, 16));
}

}  // namespace
}  // namespace regroup
