// Tests what families make of keys that are missing, null, or written under two names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/families/family.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

json LlamaLike(std::string_view model_type) {
  return {{"model_type", model_type},  {"hidden_size", 64},       {"num_hidden_layers", 2},
          {"num_attention_heads", 32}, {"intermediate_size", 96}, {"vocab_size", 50}};
}

json T5(const json& changes) {
  json config = {{"model_type", "t5"}, {"d_model", 32}, {"num_layers", 2}, {"num_heads", 4},
                 {"d_kv", 8},          {"d_ff", 40},    {"vocab_size", 50}};
  config.update(changes);
  return config;
}

ModelConfig DefaultsOf(const json& json) {
  const auto config = FamilyOf(json).value()->read_config(json);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : ModelConfig();
}

std::string RefusalOf(const json& json) {
  return std::string(FamilyOf(json).value()->read_config(json).status().message());
}

struct Defaults {
  const char* model_type;
  int64_t kv_heads, head_width, max_positions;
};

class DefaultsTest : public testing::TestWithParam<Defaults> {};

TEST_P(DefaultsTest, AreThoseOfTheConfigurationClass) {
  const ModelConfig config = DefaultsOf(LlamaLike(GetParam().model_type));
  EXPECT_EQ(config.kv_heads, GetParam().kv_heads);
  EXPECT_EQ(config.head_width, GetParam().head_width);
  EXPECT_EQ(config.max_positions, GetParam().max_positions);
}

INSTANTIATE_TEST_SUITE_P(Families, DefaultsTest,
                         testing::Values(Defaults{"llama", 32, 2, 2048}, Defaults{"mistral", 8, 2, 131072},
                                         Defaults{"gemma", 16, 256, 8192}, Defaults{"qwen2", 32, 2, 32768},
                                         Defaults{"qwen3", 32, 128, 32768}, Defaults{"olmo2", 32, 2, 2048}),
                         [](const auto& info) { return std::string(info.param.model_type); });

TEST(DefaultsTest, OfSingleFamilies) {
  const json gpt2 = {{"model_type", "gpt2"}, {"n_embd", 64}, {"n_layer", 2}, {"n_head", 4}, {"vocab_size", 50}};
  EXPECT_EQ(DefaultsOf(gpt2).learned_positions, 1024);
  EXPECT_EQ(DefaultsOf(LlamaLike("mistral")).sliding_window, 4096);
  EXPECT_EQ(DefaultsOf(LlamaLike("gemma")).activation, Activation::kGeluTanh);
}

TEST(NullTest, IsRefusedWhereTheClassWantsAValue) {
  for (const auto& [model_type, key] : {std::pair{"llama", "rms_norm_eps"}, std::pair{"mistral", "num_key_value_heads"},
                                        std::pair{"qwen3", "head_dim"}, std::pair{"gemma", "tie_word_embeddings"},
                                        std::pair{"llama", "attention_bias"}, std::pair{"gemma", "hidden_act"}}) {
    json config = LlamaLike(model_type);
    config[key] = nullptr;
    EXPECT_THAT(RefusalOf(config), AllOf(HasSubstr(key), HasSubstr("null"))) << model_type;
  }
}

TEST(GemmaTest, ReadsHiddenActAndNotItsShortLivedSuccessor) {
  json config = LlamaLike("gemma");
  config["hidden_act"] = "gelu";
  config["hidden_activation"] = "gelu_pytorch_tanh";
  EXPECT_EQ(DefaultsOf(config).activation, Activation::kGelu);
}

TEST(TwoSpellingsTest, TheOneThatTransformersReadsLastWins) {
  const json bloom = {{"model_type", "bloom"},  {"hidden_size", 32}, {"n_embed", 64},   {"n_layer", 2},
                      {"num_hidden_layers", 3}, {"n_head", 4},       {"vocab_size", 50}};
  EXPECT_EQ(DefaultsOf(bloom).hidden_size, 64);
  EXPECT_EQ(DefaultsOf(bloom).layers, 3);
  EXPECT_EQ(DefaultsOf(T5({{"num_attention_heads", 2}})).heads, 2);
}

TEST(SlidingWindowTest, IsRefusedWhereOnlySomeLayersHaveOne) {
  json config = LlamaLike("qwen2");
  config.update({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 1}});
  EXPECT_THAT(RefusalOf(config), HasSubstr("'use_sliding_window'"));
  config["max_window_layers"] = 2;
  DefaultsOf(config);
  config["layer_types"] = {"full_attention", "sliding_attention"};
  EXPECT_THAT(RefusalOf(config), HasSubstr("'layer_types'"));
}

TEST(T5Test, ReadsWhatTransformers5Saves) {
  EXPECT_EQ(DefaultsOf(T5({{"decoder_start_token_id", 0}})).decoder_start_token, 0);
  EXPECT_EQ(DefaultsOf(T5({{"feed_forward_proj", "relu"}, {"dense_act_fn", "silu"}})).activation, Activation::kSilu);
  EXPECT_EQ(DefaultsOf(T5({{"tie_word_embeddings", true}, {"scale_decoder_outputs", false}})).output_scale, 1.0);
  EXPECT_EQ(DefaultsOf(T5({{"tie_word_embeddings", false}})).output_scale, 1.0);
  EXPECT_LT(DefaultsOf(T5({{"tie_word_embeddings", true}})).output_scale, 1.0);
}

TEST(GptNeoxTest, RefusesAHeadDimThatOnlyItsFrequenciesWouldFollow) {
  json config = LlamaLike("gpt_neox");
  config["num_attention_heads"] = 4;
  config["head_dim"] = 8;
  EXPECT_THAT(RefusalOf(config), HasSubstr("'head_dim' is 8, but only 16 is supported"));
}

TEST(T5Test, NamesTheFileOnce) {
  EXPECT_THAT(RefusalOf(T5({{"feed_forward_proj", "gelu-gated"}})),
              AllOf(HasSubstr("config.json: feed_forward_proj"), Not(HasSubstr("config.json: config.json"))));
}

}  // namespace
}  // namespace regroup
