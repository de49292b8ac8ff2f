#include "trainer/families/rotary_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "trainer/families/family.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::DoubleNear;
using testing::HasSubstr;
using testing::Pointwise;

/// Reads a model with heads of width 16 and these rotary keys.
absl::StatusOr<ModelConfig> ReadRope(std::string_view model_type, const json& keys) {
  json config = {{"model_type", model_type}, {"hidden_size", 64},        {"num_hidden_layers", 2},
                 {"num_attention_heads", 4}, {"num_key_value_heads", 4}, {"intermediate_size", 96},
                 {"vocab_size", 50},         {"head_dim", 16},           {"max_position_embeddings", 64}};
  config.update(keys);
  return FamilyOf(config).value()->read_config(config);
}

RotaryConfig Rotary(std::string_view model_type, const json& keys) {
  const auto config = ReadRope(model_type, keys);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? config->kinds[0].rotary : RotaryConfig();
}

std::string RopeErrorOf(std::string_view model_type, const json& keys) {
  return std::string(ReadRope(model_type, keys).status().message());
}

void ExpectSame(const RotaryConfig& rotary, const RotaryConfig& expected) {
  EXPECT_EQ(rotary.width, expected.width);
  EXPECT_DOUBLE_EQ(rotary.magnitude, expected.magnitude);
  EXPECT_THAT(rotary.inverse_frequencies, Pointwise(DoubleNear(1e-15), expected.inverse_frequencies));
}

json Yarn(const json& changes = json::object()) {
  json scaling = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  scaling.update(changes);
  return {{"rope_scaling", scaling}};
}

TEST(RotaryKeys, RopeScalingReplacesRopeParameters) {
  const json linear = {{"type", "linear"}, {"factor", 2.0}};
  const json plain = {{"rope_type", "default"}, {"rope_theta", 700.0}};
  ExpectSame(Rotary("llama", {{"rope_scaling", linear}, {"rope_parameters", plain}}),
             Rotary("llama", {{"rope_scaling", linear}}));
  const RotaryConfig alone = Rotary("llama", {{"rope_parameters", plain}});
  ExpectSame(Rotary("llama", {{"rope_scaling", nullptr}, {"rope_parameters", plain}}), alone);
  ExpectSame(Rotary("llama", {{"rope_scaling", json::object()}, {"rope_parameters", plain}}), alone);
}

TEST(RotaryKeys, TheOriginalContextAtTheTopOverridesTheOneInside) {
  json keys = Yarn();
  keys["original_max_position_embeddings"] = 16;
  ExpectSame(Rotary("llama", keys), Rotary("llama", Yarn({{"original_max_position_embeddings", 16}})));
}

TEST(RotaryKeys, TheOriginalContextIsTheMaximumIfNothingElseIsWritten) {
  json keys = Yarn();
  keys["rope_scaling"].erase("original_max_position_embeddings");
  ExpectSame(Rotary("llama", keys), Rotary("llama", Yarn({{"original_max_position_embeddings", 64}})));
}

TEST(RotaryKeys, AFamilyThatRotatesWholeHeadsIgnoresKeysOfOthers) {
  for (const char* key : {"partial_rotary_factor", "rotary_pct", "rotary_emb_base"}) {
    ExpectSame(Rotary("llama", {{key, 0.5}}), Rotary("llama", json::object()));
  }
  const json linear = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_THAT(RopeErrorOf("llama", {{"partial_rotary_factor", 0.5}, {"rope_scaling", linear}}),
              HasSubstr("'partial_rotary_factor' is 0.5"));
}

TEST(RotaryKeys, GptNeoxReadsItsOwnSpellingsOnly) {
  const RotaryConfig own = Rotary("gpt_neox", {{"rotary_pct", 0.5}, {"rotary_emb_base", 500}});
  EXPECT_EQ(own.width, 8);
  EXPECT_DOUBLE_EQ(own.inverse_frequencies[1], std::pow(500.0, -0.25));
  ExpectSame(
      Rotary("gpt_neox",
             {{"rotary_pct", 0.5}, {"rotary_emb_base", 500}, {"partial_rotary_factor", 0.75}, {"rope_theta", 90.0}}),
      own);
  EXPECT_EQ(Rotary("gpt_neox", json::object()).width, 4);
}

TEST(RotaryKeys, YarnTakesNullAndZeroAsTransformersDoes) {
  const RotaryConfig plain = Rotary("llama", Yarn());
  for (const json& same : {json{{"mscale", 0}, {"mscale_all_dim", 0}}, json{{"mscale", 0.7}},
                           json{{"mscale", 0.7}, {"mscale_all_dim", nullptr}}, json{{"beta_fast", 0}},
                           json{{"beta_slow", nullptr}}, json{{"attention_factor", nullptr}}}) {
    ExpectSame(Rotary("llama", Yarn(same)), plain);
  }
  ExpectSame(Rotary("llama", Yarn({{"truncate", nullptr}})), Rotary("llama", Yarn({{"truncate", false}})));
  ExpectSame(Rotary("llama", Yarn({{"factor", nullptr}})), Rotary("llama", Yarn({{"factor", 2.0}})));
}

/// Eight pairs, as in a head of 16.
json Longrope(const json& changes = json::object()) {
  json scaling = {{"type", "longrope"},
                  {"short_factor", {1, 1, 1, 1, 2, 2, 2, 2}},
                  {"long_factor", {1, 2, 3, 4, 5, 6, 7, 8}},
                  {"original_max_position_embeddings", 16}};
  scaling.update(changes);
  return {{"rope_scaling", scaling}};
}

TEST(RotaryKeys, LongropeDividesEachPairByItsOwnFactor) {
  const RotaryConfig plain = Rotary("llama", json::object()), scaled = Rotary("llama", Longrope());
  ASSERT_EQ(scaled.inverse_frequencies.size(), 8u);
  EXPECT_DOUBLE_EQ(scaled.inverse_frequencies[3], plain.inverse_frequencies[3]);
  EXPECT_DOUBLE_EQ(scaled.inverse_frequencies[4], plain.inverse_frequencies[4] / 2);
  EXPECT_DOUBLE_EQ(scaled.long_inverse_frequencies[4], plain.inverse_frequencies[4] / 5);
  EXPECT_EQ(scaled.short_positions, 16);
  // The maximum is 64 positions: a factor of 4.
  EXPECT_DOUBLE_EQ(scaled.magnitude, std::sqrt(1.0 + std::log(4.0) / std::log(16.0)));
  EXPECT_DOUBLE_EQ(Rotary("llama", Longrope({{"factor", 8.0}})).magnitude,
                   std::sqrt(1.0 + std::log(8.0) / std::log(16.0)));
  EXPECT_DOUBLE_EQ(Rotary("llama", Longrope({{"attention_factor", 1.5}})).magnitude, 1.5);
}

TEST(RotaryKeys, LongropeNeedsAFactorForEachPair) {
  EXPECT_THAT(RopeErrorOf("llama", Longrope({{"long_factor", {1, 2}}})),
              HasSubstr("'long_factor' in 'rope_scaling' must be a list of 8 numbers above 0, not [1,2]"));
  EXPECT_THAT(RopeErrorOf("llama", Longrope({{"short_factor", nullptr}})), HasSubstr("'short_factor'"));
}

TEST(RotaryKeys, Phi3KnowsLongropeByItsOldNamesAndNothingElse) {
  const RotaryConfig scaled = Rotary("phi3", Longrope());
  for (const char* name : {"su", "yarn"}) ExpectSame(Rotary("phi3", Longrope({{"type", name}})), scaled);
  EXPECT_THAT(RopeErrorOf("phi3", {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}),
              HasSubstr("have default or longrope"));
}

TEST(RotaryKeys, NullIsNoNumber) {
  EXPECT_THAT(RopeErrorOf("llama", {{"rope_theta", nullptr}}),
              HasSubstr("'rope_theta' must be a number above 0, not null"));
  EXPECT_THAT(RopeErrorOf("phi", {{"partial_rotary_factor", nullptr}}), HasSubstr("'partial_rotary_factor'"));
  EXPECT_THAT(RopeErrorOf("llama", {{"rope_parameters", {{"rope_type", nullptr}}}}), HasSubstr("'rope_type'"));
  EXPECT_THAT(RopeErrorOf("llama", {{"rope_scaling", {{"type", "dynamic"}}}}), HasSubstr("must contain 'factor'"));
}

}  // namespace
}  // namespace regroup
