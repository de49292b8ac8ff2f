// Tests encoder-decoders: which tokens see which, and relative position biases against a table written by hand.
#include "trainer/nn/window_runner.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/trainer/fixtures/slow_transformer.h"

namespace regroup {
namespace {

constexpr int64_t kBuckets = 8;

struct HeadSizes {
  int64_t kv_heads = 4;
  int64_t head_width = 6;
};

/// Returns a model with 2 encoder layers and 1 decoder layer, so 4 layers of attention; windows have 10 tokens.
Model RandomEncoderDecoder(const HeadSizes& sizes = {}) {
  ModelConfig config = SmallConfig(sizes.kv_heads);
  config.head_width = sizes.head_width;
  config.family = "t5";
  config.layers = 4;
  config.encoder_layers = 2;
  config.kinds[0].rotary = {};
  config.relative_bias = {.buckets = kBuckets, .max_distance = 12};
  config.attention_scale = 1;
  config.tied_embeddings = true;
  config.output_scale = 0.5;
  Model model = RandomModel(config, false, 5);
  model.blocks[2].feed_forward_norm = {};
  model.blocks[2].feed_forward = {};
  model.encoder_norm = {at::rand({config.hidden_size}) + 0.5};
  model.encoder_relative_bias = at::randn({kBuckets, config.heads});
  model.decoder_relative_bias = at::randn({kBuckets, config.heads});
  return model;
}

at::Tensor SomeWindow() { return at::tensor({3, 1, 4, 1, 5, 9, 2, 6, 5, 8}, at::kLong).view({1, 10}); }

at::Tensor Changed(at::Tensor tokens, int64_t place) {
  tokens = tokens.clone();
  tokens[0][place] = 17;
  return tokens;
}

/// Returns, for each predicted position, true if its state is unchanged.
std::vector<bool> Unmoved(const Model& model, int64_t changed_token) {
  const at::Tensor before = RunHiddenStates(model, SomeWindow())[0];
  const at::Tensor after = RunHiddenStates(model, Changed(SomeWindow(), changed_token))[0];
  std::vector<bool> unmoved;
  for (int64_t place = 0; place < before.size(0); ++place) {
    unmoved.push_back(at::allclose(before[place], after[place], 0, 1e-6));
  }
  return unmoved;
}

TEST(EncoderDecoderTest, EveryStateOfTheDecoderSeesTheWholeEncoder) {
  const Model model = RandomEncoderDecoder();
  EXPECT_EQ(Unmoved(model, 0), std::vector<bool>(5, false));
  EXPECT_EQ(Unmoved(model, 4), std::vector<bool>(5, false));
}

TEST(EncoderDecoderTest, AStateOfTheDecoderSeesThePredictedTokensBeforeItsOwn) {
  const Model model = RandomEncoderDecoder();
  // The state at position 2 predicts token 7, so token 7 is read from position 3 on.
  EXPECT_EQ(Unmoved(model, 7), (std::vector<bool>{true, true, true, false, false}));
  EXPECT_EQ(Unmoved(model, 9), std::vector<bool>(5, true));
}

TEST(EncoderDecoderTest, PredictsWhatTheEncoderDoesNotRead) {
  const Model model = RandomEncoderDecoder();
  const Predictions half = RunPredictions(model, SomeWindow());
  EXPECT_TRUE(at::equal(half.targets, SomeWindow().narrow(1, 5, 5)));
  const Predictions two = RunPredictions(model, SomeWindow(), {.encoder_tokens = 8});
  EXPECT_TRUE(at::equal(two.targets, SomeWindow().narrow(1, 8, 2)));
  EXPECT_EQ(two.hidden.size(1), 2);
}

TEST(EncoderDecoderTest, DecodesWithACacheWhatItComputesForTheWholeWindow) {
  for (const int64_t width : {6, 16}) {  // With matrix products, and with the loops of grouped_products.h.
    const Model model = RandomEncoderDecoder({.kv_heads = 2, .head_width = width});
    const at::Tensor window = at::cat({SomeWindow(), SomeWindow().flip(1)});
    const at::Tensor expected = RunHiddenStates(model, window, {.encoder_tokens = 4});
    const at::Tensor start = at::full({2, 1}, model.config.decoder_start_token, at::kLong);
    const at::Tensor read = at::cat({start, window.narrow(1, 4, 5)}, 1);
    for (const std::vector<int64_t>& pieces :
         std::vector<std::vector<int64_t>>{{1, 1, 1, 1, 1, 1}, {6}, {1, 5}, {3, 1, 2}}) {
      KeyValueCache cache(model.config, 2, 6, at::kFloat, at::kCPU);
      RunCachedEncoder(model, window.narrow(1, 0, 4), cache);
      std::vector<at::Tensor> states;
      for (const int64_t piece : pieces) {
        states.push_back(RunCachedHiddenStates(model, read.narrow(1, cache.length(), piece), cache));
      }
      EXPECT_TRUE(at::allclose(at::cat(states, 1), expected, 1e-5, 1e-5)) << width << ", " << pieces.size();
      // Keys and values x 2 heads x 4 bytes, for 2 sequences of 6 tokens of the decoder and 4 of the encoder.
      EXPECT_EQ(cache.Bytes(), 2 * 2 * width * 4 * 2 * (6 + 4));
    }
  }
}

TEST(EncoderDecoderTest, ObserversSeeTheEncodersOutputInCrossAttention) {
  const Model model = RandomEncoderDecoder();
  std::vector<std::pair<at::Tensor, at::Tensor>> seen;
  RunHiddenStates(model, SomeWindow(), {.observer = [&](int64_t layer, const AttentionInputs& inputs) {
                    EXPECT_EQ(layer, static_cast<int64_t>(seen.size()));
                    seen.emplace_back(inputs.query, inputs.memory);
                  }});
  ASSERT_EQ(seen.size(), 4U);
  for (const size_t layer : {0, 1, 2}) EXPECT_TRUE(seen[layer].first.is_same(seen[layer].second));
  // The encoder's output is normalised: its rows divided by the norm's weight have a root mean square near 1.
  const at::Tensor rows = seen[3].second[0] / model.encoder_norm.weight;
  EXPECT_TRUE(at::allclose(rows.square().mean(-1), at::ones({5}), 0, 0.05));
  EXPECT_FALSE(at::allclose(seen[3].first, seen[3].second));
}

TEST(EncoderDecoderTest, BiasesOfBothStacksGetTheirGradients) {
  Model model = RandomEncoderDecoder();
  const at::Tensor weight = at::randn({5, model.config.hidden_size});
  const auto loss = [&] { return (RunHiddenStates(model, SomeWindow())[0] * weight).sum(); };
  for (at::Tensor Model::*member : {&Model::encoder_relative_bias, &Model::decoder_relative_bias}) {
    at::Tensor& bias = model.*member;
    bias.requires_grad_(true);
    loss().backward();
    const at::Tensor gradient = bias.grad().clone();
    bias = bias.detach();
    const double step = 1e-2;
    for (const int64_t bucket : {0, 1}) {
      const at::Tensor original = bias;
      const auto moved = [&](double by) {
        bias = original.clone();
        bias[bucket][1] += by;
        return loss().item<double>();
      };
      const double expected = (moved(step) - moved(-step)) / (2 * step);
      bias = original;
      EXPECT_NEAR(gradient[bucket][1].item<double>(), expected, 2e-2 * (1 + std::abs(expected))) << bucket;
    }
  }
}

TEST(EncoderDecoderTest, CachesTheDecoderAlone) {
  ModelConfig config = RandomEncoderDecoder().config;
  // Self-attention and cross attention of one layer: keys and values of 4 heads x 6, 2 bytes each.
  EXPECT_EQ(config.KvCacheBytesPerToken(2), 2 * 2 * 4 * 6 * 2);
  config.kv_heads_of_layers = {4, 4, 2, 1};
  EXPECT_EQ(config.KvCacheBytesPerToken(2), 2 * (2 + 1) * 6 * 2);
}

TEST(SinusoidalPositionsTest, AreSinesAndThenCosines) {
  ModelConfig config{.hidden_size = 4, .position_offset = 1};
  config.sinusoidal.divisor = 2;
  const at::Tensor table = SinusoidalPositions(at::tensor({0, 2}, at::kLong), config);
  // Places 1 and 3; the second frequency is 10000^(-1/2).
  const at::Tensor expected = at::tensor({std::sin(1.0), std::sin(0.01), std::cos(1.0), std::cos(0.01), std::sin(3.0),
                                          std::sin(0.03), std::cos(3.0), std::cos(0.03)})
                                  .view({2, 4});
  EXPECT_TRUE(at::allclose(table, expected.to(at::kFloat), 0, 1e-6));
}

TEST(EncoderDecoderTest, RunsLayersWithoutAnEmbedding) {
  Model model = RandomEncoderDecoder();
  const WindowRunner whole(model, 10, at::kCPU, {});
  const at::Tensor stream = whole.Start(SomeWindow());
  const at::Tensor expected = whole.Advance(stream, model.blocks[0], 0);
  model.embedding = at::Tensor();
  const WindowRunner runner(model, 10, at::kCPU, {});
  EXPECT_TRUE(runner.Advance(stream, model.blocks[0], 0).equal(expected));
}

TEST(WindowBiasTest, HidesWhatIsFartherAwayOnBothSides) {
  const at::Tensor bias = WindowBias(4, 1, at::kCPU)[0][0];
  const double none = -std::numeric_limits<double>::infinity();
  const at::Tensor expected =
      at::tensor({0.0, 0.0, none, none, 0.0, 0.0, 0.0, none, none, 0.0, 0.0, 0.0, none, none, 0.0, 0.0}).view({4, 4});
  EXPECT_TRUE(bias.equal(expected.to(at::kFloat)));
}

TEST(EncoderDecoderTest, AnEncoderHasItsOwnEmbeddingRotationAndWindow) {
  Model model = RandomEncoderDecoder();
  model.config.relative_bias = {};
  model.encoder_relative_bias = model.decoder_relative_bias = at::Tensor();
  const at::Tensor before = RunHiddenStates(model, SomeWindow());
  const auto changed = [&] { return !RunHiddenStates(model, SomeWindow()).allclose(before, 0, 1e-6); };
  model.encoder_embedding = model.embedding.clone();
  EXPECT_FALSE(changed());
  model.encoder_embedding = at::randn_like(model.embedding);
  EXPECT_TRUE(changed());
  model.encoder_embedding = at::Tensor();
  // The last kind is that of cross attention and of the decoder.
  model.config.kinds = {{.rotary = {.width = 6, .inverse_frequencies = {1.0, 0.2, 0.03}}}, {}};
  model.config.kind_of_layers = {0, 0, 1, 1};
  EXPECT_TRUE(changed());
  model.config.kinds[0] = {.sliding_window = 1};
  // With a window of one token in both layers of the encoder its first state depends on the first three tokens.
  const at::Tensor windowed = RunHiddenStates(model, SomeWindow());
  std::vector<at::Tensor> memory;
  const auto observer = [&](int64_t layer, const AttentionRows& rows) {
    if (layer == 3) memory.push_back(rows.memory[0][0]);
  };
  for (const int64_t place : {0, 2, 3}) {
    RunHiddenStates(model, place == 0 ? SomeWindow() : Changed(SomeWindow(), place), {.observer = observer});
  }
  EXPECT_FALSE(memory[1].allclose(memory[0], 0, 1e-6));
  EXPECT_TRUE(memory[2].allclose(memory[0], 0, 1e-6));
}

/// Returns the bucket of a distance by definition: with 4 buckets for one direction, distances 0 and 1 have one each,
/// and those up to 12 share two that meet at 2 sqrt(6) = 4.9.
int64_t BucketOfFour(int64_t distance) {
  if (distance < 2) return distance;
  return distance < 5 ? 2 : 3;
}

TEST(RelativePositionBiasTest, SplitsTheBucketsByDirectionInTheEncoder) {
  const at::Tensor table = at::arange(kBuckets, at::kFloat).view({kBuckets, 1}).mul(at::tensor({1.0F, 10.0F}));
  const at::Tensor bias = RelativePositionBias(table, {.buckets = kBuckets, .max_distance = 12}, 0, 20, true);
  ASSERT_EQ(bias.sizes(), (std::vector<int64_t>{1, 2, 20, 20}));
  for (int64_t query = 0; query < 20; ++query) {
    for (int64_t key = 0; key < 20; ++key) {
      const int64_t bucket = BucketOfFour(std::abs(key - query)) + (key > query ? 4 : 0);
      EXPECT_EQ(bias[0][0][query][key].item<int64_t>(), bucket) << query << " " << key;
      EXPECT_EQ(bias[0][1][query][key].item<int64_t>(), 10 * bucket);
    }
  }
}

TEST(RelativePositionBiasTest, HidesWhatComesLaterInTheDecoder) {
  const at::Tensor table = at::arange(4, at::kFloat).view({4, 1});
  const at::Tensor bias = RelativePositionBias(table, {.buckets = 4, .max_distance = 12}, 0, 20, false)[0][0];
  for (int64_t query = 0; query < 20; ++query) {
    for (int64_t key = 0; key < 20; ++key) {
      const double expected =
          key > query ? -std::numeric_limits<double>::infinity() : static_cast<double>(BucketOfFour(query - key));
      EXPECT_EQ(bias[query][key].item<double>(), expected) << query << " " << key;
    }
  }
}

}  // namespace
}  // namespace regroup
