#include "trainer/families/family.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace regroup {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json LlamaConfig() {
  return {{"model_type", "llama"},   {"hidden_size", 64},       {"num_hidden_layers", 3}, {"num_attention_heads", 8},
          {"intermediate_size", 96}, {"vocab_size", 500},       {"rms_norm_eps", 1e-5},   {"hidden_act", "silu"},
          {"head_dim", 16},          {"num_key_value_heads", 4}};
}

absl::StatusOr<ModelConfig> Read(const json& config) {
  const auto family = FamilyOf(config);
  if (!family.ok()) return family.status();
  return (*family)->read_config(config);
}

json With(json config, const json& changes) {
  config.update(changes);
  return config;
}

TEST(FamilyTest, ReadsTheShape) {
  const auto config = Read(With(LlamaConfig(), {{"max_position_embeddings", 77}, {"tie_word_embeddings", true}}));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->family, "llama");
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->layers, 3);
  EXPECT_EQ(config->heads, 8);
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_width, 16);
  EXPECT_EQ(config->intermediate_size, 96);
  EXPECT_EQ(config->vocabulary, 500);
  EXPECT_EQ(config->max_positions, 77);
  EXPECT_EQ(config->norm_epsilon, 1e-5);
  EXPECT_EQ(config->activation, Activation::kSilu);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->kinds[0].rotary.width, 16);
  EXPECT_FALSE(config->kinds[0].rotary.interleaved);
}

TEST(FamilyTest, TakesTransformersDefaultsForMissingKeys) {
  json config = LlamaConfig();
  for (const char* key : {"head_dim", "num_key_value_heads", "rms_norm_eps", "hidden_act"}) config.erase(key);
  const auto read = Read(config);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kv_heads, 8);
  EXPECT_EQ(read->head_width, 8);
  EXPECT_EQ(read->norm_epsilon, 1e-6);
  EXPECT_FALSE(read->tied_embeddings);
  EXPECT_DOUBLE_EQ(read->kinds[0].rotary.inverse_frequencies[1], std::pow(10000.0, -2.0 / 8.0));
}

TEST(FamilyTest, ANullKeyCountsAsMissing) {
  const auto read = Read(With(LlamaConfig(), {{"head_dim", nullptr}, {"rope_scaling", nullptr}}));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->head_width, 8);
}

struct RopeCase {
  const char* name;
  json keys;
  double theta;
};

class RopeStyleTest : public testing::TestWithParam<RopeCase> {};

TEST_P(RopeStyleTest, ReadsTheBaseOfTheFrequencies) {
  const auto read = Read(With(LlamaConfig(), GetParam().keys));
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->kinds[0].rotary.inverse_frequencies.size(), 8u);
  for (int pair = 0; pair < 8; ++pair) {
    EXPECT_NEAR(read->kinds[0].rotary.inverse_frequencies[pair], std::pow(GetParam().theta, -pair / 8.0), 1e-15);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Styles, RopeStyleTest,
    testing::Values(
        RopeCase{"Transformers4", {{"rope_theta", 500.0}}, 500},
        RopeCase{"Transformers5", {{"rope_parameters", {{"rope_theta", 600}, {"rope_type", "default"}}}}, 600},
        RopeCase{"BothPreferTheNewer", {{"rope_theta", 500.0}, {"rope_parameters", {{"rope_theta", 600.0}}}}, 600},
        RopeCase{"Neither", json::object(), 10000}),
    [](const auto& info) { return info.param.name; });

TEST(RopeScalingTest, LinearDividesEveryFrequency) {
  for (const json& keys :
       {json{{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}},
        json{{"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}}},
        json{{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4}, {"rope_theta", 10000.0}}}}}) {
    const auto read = Read(With(LlamaConfig(), keys));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_NEAR(read->kinds[0].rotary.inverse_frequencies[0], 0.25, 1e-15);
    EXPECT_NEAR(read->kinds[0].rotary.inverse_frequencies[4], 0.25 * 0.01, 1e-15);
  }
}

TEST(RopeScalingTest, Llama3KeepsHighFrequenciesAndDividesLowOnes) {
  const json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64}};
  const auto read = Read(With(LlamaConfig(), {{"rope_theta", 10000.0}, {"rope_scaling", scaling}}));
  ASSERT_TRUE(read.ok()) << read.status();
  const std::vector<double>& frequencies = read->kinds[0].rotary.inverse_frequencies;
  // Wavelengths are 2 pi 10^(pair / 2): 6.3 and, 1.5 pairs later, 15.7 are near 64 / 4 = 16, and from pair 3 on they
  // exceed 64.
  EXPECT_DOUBLE_EQ(frequencies[0], 1.0);
  EXPECT_NEAR(frequencies[3], std::pow(10.0, -1.5) / 8.0, 1e-15);
  EXPECT_NEAR(frequencies[7], std::pow(10.0, -3.5) / 8.0, 1e-15);
  // Pair 1: wavelength 2 pi 10^0.5 = 19.869, 64 / 19.869 = 3.2211, so it keeps (3.2211 - 1) / 3 = 0.74037.
  const double plain = std::pow(10.0, -0.5);
  const double stays = (64.0 / (2.0 * std::acos(-1.0) / plain) - 1.0) / 3.0;
  EXPECT_NEAR(stays, 0.74037, 1e-4);
  EXPECT_NEAR(frequencies[1], plain * (stays + (1.0 - stays) / 8.0), 1e-15);
}

struct BadCase {
  const char* name;
  json changes;
  const char* removed;
  const char* message;
};

class BadConfigTest : public testing::TestWithParam<BadCase> {};

TEST_P(BadConfigTest, NamesTheKey) {
  json config = With(LlamaConfig(), GetParam().changes);
  if (GetParam().removed != nullptr) config.erase(GetParam().removed);
  const auto read = Read(config);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(read.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Mistakes, BadConfigTest,
    testing::Values(
        BadCase{"NoModelType", json::object(), "model_type", "'model_type' is missing"},
        BadCase{"UnknownFamily",
                {{"model_type", "mamba"}},
                nullptr,
                "'mamba' is not a supported family; supported are llama"},
        BadCase{"NoHiddenSize", json::object(), "hidden_size", "'hidden_size' is missing"},
        BadCase{"NoLayers", json::object(), "num_hidden_layers", "'num_hidden_layers' is missing"},
        BadCase{"NoVocabulary", json::object(), "vocab_size", "'vocab_size' is missing"},
        BadCase{"NoIntermediateSize", json::object(), "intermediate_size", "'intermediate_size' is missing"},
        BadCase{"NegativeHeads",
                {{"num_attention_heads", -8}},
                nullptr,
                "'num_attention_heads' must be a positive integer, not -8"},
        BadCase{"FractionalLayers",
                {{"num_hidden_layers", 2.5}},
                nullptr,
                "'num_hidden_layers' must be a positive integer, not 2.5"},
        BadCase{"TextForANumber", {{"hidden_size", "64"}}, nullptr, "'hidden_size'"},
        BadCase{"KvHeadsDoNotDivide",
                {{"num_key_value_heads", 3}},
                nullptr,
                "num_key_value_heads 3 does not divide num_attention_heads 8"},
        BadCase{"OddHeadWidth", {{"head_dim", 7}}, nullptr, "head of width 7"},
        BadCase{"UnknownActivation",
                {{"hidden_act", "tanhshrink"}},
                nullptr,
                "'hidden_act' has the unsupported activation 'tanhshrink'"},
        BadCase{"ActivationOfAnotherType", {{"hidden_act", 3}}, nullptr, "'hidden_act'"},
        BadCase{"EpsilonAsText", {{"rms_norm_eps", "small"}}, nullptr, "'rms_norm_eps' must be a number"},
        BadCase{"TiedAsText", {{"tie_word_embeddings", "true"}}, nullptr, "'tie_word_embeddings'"},
        BadCase{"UnknownRope",
                {{"rope_scaling", {{"rope_type", "su"}, {"factor", 2.0}}}},
                nullptr,
                "rope type 'su' in 'rope_scaling' is not supported"},
        BadCase{"RopeNotAnObject", {{"rope_scaling", "linear"}}, nullptr, "'rope_scaling' must be an object"},
        BadCase{"RopeParametersNotAnObject", {{"rope_parameters", 3}}, nullptr, "'rope_parameters' must be an object"},
        BadCase{"ThetaAsText",
                {{"rope_parameters", {{"rope_theta", "10000"}}}},
                nullptr,
                "'rope_theta' must be a number above 0"},
        BadCase{"NegativeTheta", {{"rope_theta", -2.0}}, nullptr, "'rope_theta'"},
        BadCase{"LinearWithoutFactor",
                {{"rope_scaling", {{"type", "linear"}}}},
                nullptr,
                "'rope_scaling' must contain 'factor'"},
        BadCase{"FactorAsText",
                {{"rope_scaling", {{"type", "linear"}, {"factor", "2"}}}},
                nullptr,
                "'factor' must be a number above 0"}),
    [](const auto& info) { return info.param.name; });

TEST(PlaceOfTest, PutsTheLayerIntoTheName) {
  const Family& llama = **FamilyOf(LlamaConfig());
  EXPECT_EQ(PlaceOf(llama, {}, "layers.12.attention.key.weight")->name, "model.layers.12.self_attn.k_proj.weight");
  EXPECT_EQ(PlaceOf(llama, {}, "layers.3.feed_forward.down.weight")->name, "model.layers.3.mlp.down_proj.weight");
  EXPECT_EQ(PlaceOf(llama, {}, "embedding.weight")->name, "model.embed_tokens.weight");
  EXPECT_EQ(PlaceOf(llama, {}, "head.weight")->name, "lm_head.weight");
  EXPECT_FALSE(PlaceOf(llama, {}, "layers.0.attention.rotary.weight").has_value());
}

TEST(PlaceOfTest, PutsTheExpertIntoTheName) {
  const Family& qwen = **FamilyOf({{"model_type", "qwen2_moe"}});
  const ModelConfig config{.experts = {.count = 20, .dense_layers = {3}}};
  EXPECT_EQ(PlaceOf(qwen, config, "layers.2.feed_forward.experts.17.up.weight")->name,
            "model.layers.2.mlp.experts.17.up_proj.weight");
  EXPECT_EQ(PlaceOf(qwen, config, "layers.2.feed_forward.up.weight")->name,
            "model.layers.2.mlp.shared_expert.up_proj.weight");
  EXPECT_EQ(PlaceOf(qwen, config, "layers.3.feed_forward.up.weight")->name, "model.layers.3.mlp.up_proj.weight");
  EXPECT_FALSE(PlaceOf(qwen, config, "layers.3.feed_forward.router.weight").has_value());
}

TEST(PlaceOfTest, GivesABiasToTheFamiliesWhoseKeysAskForIt) {
  const Family& llama = **FamilyOf(LlamaConfig());
  const ModelConfig biased{.bias_keys = {"attention_bias"}};
  const auto bias = PlaceOf(llama, biased, "layers.0.attention.output.bias");
  ASSERT_TRUE(bias.has_value());
  EXPECT_EQ(bias->name, "model.layers.0.self_attn.o_proj.bias");
  EXPECT_EQ(bias->bias_key, "attention_bias");
  EXPECT_FALSE(PlaceOf(llama, biased, "layers.0.feed_forward.down.bias").has_value());
  EXPECT_FALSE(PlaceOf(llama, {}, "layers.0.attention.output.bias").has_value());
}

TEST(FamilyTest, ReadsTheKeysThatGiveBiases) {
  const auto keys = [](const json& changes) { return Read(With(LlamaConfig(), changes))->bias_keys; };
  EXPECT_THAT(keys(json::object()), testing::IsEmpty());
  EXPECT_THAT(keys({{"attention_bias", true}, {"mlp_bias", true}}), testing::ElementsAre("attention_bias", "mlp_bias"));
  // Mistral's class has no biases and does not read the key; GPT-NeoX's has them unless it says otherwise.
  EXPECT_THAT(keys({{"model_type", "mistral"}, {"attention_bias", true}}), testing::IsEmpty());
  const json neox = {{"model_type", "gpt_neox"}, {"head_dim", nullptr}};
  EXPECT_THAT(keys(neox), testing::ElementsAre("attention_bias"));
  EXPECT_THAT(keys(With(neox, {{"attention_bias", false}})), testing::IsEmpty());
}

TEST(AllFamiliesTest, EveryFamilyGivesEachParameterANameOfItsOwn) {
  for (const Family& family : AllFamilies()) {
    std::set<std::string> names;
    for (const NameRule& rule : family.names) {
      const ModelConfig config{.gated_feed_forward = rule.gated.value_or(true),
                               .experts = {.count = rule.experts.value_or(false) ? 2 : 0},
                               .bias_keys = {rule.bias_key}};
      const ParameterPlace place = *PlaceOf(family, config, rule.ours);
      names.insert(fmt::format("{}/{}", place.name, place.part));
    }
    EXPECT_EQ(names.size(), family.names.size()) << family.name();
  }
}

}  // namespace
}  // namespace regroup
