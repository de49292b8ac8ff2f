// Tests what families make of keys that are missing, null, or written under two names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "trainer/families/family.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
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

json Bart(std::string_view model_type) {
  return {
      {"model_type", model_type},     {"d_model", 32},         {"vocab_size", 50},    {"encoder_layers", 1},
      {"encoder_attention_heads", 4}, {"encoder_ffn_dim", 40}, {"decoder_layers", 2}, {"decoder_attention_heads", 4},
      {"decoder_ffn_dim", 40}};
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
  EXPECT_EQ(DefaultsOf(LlamaLike("mistral")).kinds[0].sliding_window, 4096);
  EXPECT_EQ(DefaultsOf(LlamaLike("gemma")).activation, Activation::kGeluTanh);
}

TEST(DefaultsTest, NemotronHasNoneForItsKvHeads) {
  json config = LlamaLike("nemotron");
  EXPECT_THAT(RefusalOf(config), HasSubstr("'num_key_value_heads'"));
  config["num_key_value_heads"] = 8;
  config["head_dim"] = 8;
  EXPECT_EQ(DefaultsOf(config).activation, Activation::kSquaredRelu);
  EXPECT_EQ(DefaultsOf(config).kinds[0].rotary.inverse_frequencies.size(), 2) << "half of a head that is 8 wide";
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

std::vector<int64_t> WindowsOf(const ModelConfig& config) {
  std::vector<int64_t> windows;
  for (int64_t layer = 0; layer < config.layers; ++layer) windows.push_back(config.Kind(layer).sliding_window);
  return windows;
}

TEST(SlidingWindowTest, QwenHasItFromALayerOnOrWhereListed) {
  json config = LlamaLike("qwen2");
  EXPECT_THAT(WindowsOf(DefaultsOf(config)), ElementsAre(0, 0));
  config.update({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 1}});
  EXPECT_THAT(WindowsOf(DefaultsOf(config)), ElementsAre(0, 8));
  config["max_window_layers"] = 2;
  EXPECT_THAT(WindowsOf(DefaultsOf(config)), ElementsAre(0, 0));
  config["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_THAT(WindowsOf(DefaultsOf(config)), ElementsAre(8, 0));
  config["use_sliding_window"] = false;
  EXPECT_THAT(RefusalOf(config), HasSubstr("'use_sliding_window' is false"));
}

TEST(SlidingWindowTest, RefusesListsThatDoNotFit) {
  json config = LlamaLike("gemma2");
  for (const json& types : {json::array({"full_attention"}), json::array({"full_attention", "chunked_attention"}),
                            json("full_attention"), json::array({1, 2})}) {
    config["layer_types"] = types;
    EXPECT_THAT(RefusalOf(config), HasSubstr("'layer_types' must be a list of 2 entries")) << types;
  }
  config["layer_types"] = nullptr;
  config["sliding_window"] = nullptr;
  EXPECT_THAT(RefusalOf(config), HasSubstr("'sliding_window' is null"));
}

TEST(LayerKindsTest, HaveTheDefaultsOfTheClasses) {
  json config = LlamaLike("olmo3");
  config["num_hidden_layers"] = 4;
  EXPECT_THAT(WindowsOf(DefaultsOf(config)), ElementsAre(4096, 4096, 4096, 0));
  config["model_type"] = "gemma2";
  EXPECT_THAT(WindowsOf(DefaultsOf(config)), ElementsAre(4096, 0, 4096, 0));
  config["model_type"] = "cohere2";
  const ModelConfig cohere = DefaultsOf(config);
  EXPECT_THAT(WindowsOf(cohere), ElementsAre(4096, 4096, 4096, 0));
  EXPECT_EQ(cohere.Kind(2).rotary.width, cohere.head_width);
  EXPECT_EQ(cohere.Kind(3).rotary.width, 0);
  config["model_type"] = "smollm3";
  const ModelConfig smollm = DefaultsOf(config);
  EXPECT_THAT(WindowsOf(smollm), ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(smollm.Kind(2).rotary.width, smollm.head_width);
  EXPECT_EQ(smollm.Kind(3).rotary.width, 0);
}

TEST(LayerKindsTest, HaveFrequenciesOfTheirOwn) {
  json config = LlamaLike("gemma3_text");
  config["layer_types"] = {"sliding_attention", "full_attention"};
  const ModelConfig plain = DefaultsOf(config);
  EXPECT_NEAR(plain.Kind(0).rotary.inverse_frequencies[1], std::pow(10'000.0, -2.0 / 256), 1e-12);
  EXPECT_NEAR(plain.Kind(1).rotary.inverse_frequencies[1], std::pow(1'000'000.0, -2.0 / 256), 1e-12);
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  EXPECT_NEAR(DefaultsOf(config).Kind(0).rotary.inverse_frequencies[0], 1.0, 1e-12);
  EXPECT_NEAR(DefaultsOf(config).Kind(1).rotary.inverse_frequencies[0], 1.0 / 8, 1e-12);
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  EXPECT_THAT(RefusalOf(config), HasSubstr("'rope_parameters' must have an object for each"));
}

TEST(ExpertsTest, AreInTheLayersThatTheKeysName) {
  json config = LlamaLike("qwen2_moe");
  config.update({{"num_hidden_layers", 4}, {"decoder_sparse_step", 2}, {"mlp_only_layers", {3}}});
  const ModelConfig read = DefaultsOf(config);
  EXPECT_EQ(read.experts.count, 60);
  EXPECT_THAT(read.experts.dense_layers, ElementsAre(0, 2, 3));
  EXPECT_EQ(read.FeedForwardWidth(0), read.intermediate_size);
  EXPECT_EQ(read.FeedForwardWidth(1), 60 * 1408 + 5632);
  EXPECT_EQ(read.ActiveFeedForwardWidth(1), 4 * 1408 + 5632);
  config["num_experts"] = 3;
  EXPECT_THAT(RefusalOf(config), HasSubstr("num_experts_per_tok 4 is more than the number of experts, 3"));
  config["mlp_only_layers"] = {"3"};
  EXPECT_THAT(RefusalOf(config), HasSubstr("'mlp_only_layers'"));
}

TEST(HostileConfigTest, AsksForNoMemoryBeforeSizesAreChecked) {
  json wide = LlamaLike("llama");
  wide.update({{"head_dim", int64_t{1} << 31}, {"rope_scaling", {{"type", "longrope"}}}});
  EXPECT_THAT(RefusalOf(wide), HasSubstr("head of width 2147483648"));
  json original = LlamaLike("llama");
  const json factors = json::array({1.0});
  original["rope_scaling"] = {{"type", "longrope"}, {"short_factor", factors}, {"long_factor", factors}};
  for (const double positions : {1.0, 1e300}) {
    original["original_max_position_embeddings"] = positions;
    EXPECT_THAT(RefusalOf(original), HasSubstr("original_max_position_embeddings")) << positions;
  }
  json deep = LlamaLike("smollm3");
  deep["num_hidden_layers"] = int64_t{1} << 31;
  EXPECT_THAT(RefusalOf(deep), HasSubstr("layers are more than"));
  json many = LlamaLike("qwen3_moe");
  many.update({{"num_hidden_layers", 10'000}, {"num_experts", 4096}, {"moe_intermediate_size", 1}});
  EXPECT_THAT(RefusalOf(many), HasSubstr("experts"));
}

TEST(CompositeTest, TiesEmbeddingAndHeadAsItsClassDoes) {
  const auto is_tied = [](const char* model_type, const json& whole, const json& text) {
    json config = {{"model_type", model_type}, {"text_config", LlamaLike("llama")}};
    if (!whole.is_null()) config["tie_word_embeddings"] = whole;
    if (!text.is_null()) config["text_config"]["tie_word_embeddings"] = text;
    if (std::string(model_type) == "gemma3") config["text_config"]["model_type"] = "gemma3_text";
    const TextConfig read = TextConfigOf(*FamilyOf(config).value(), config).value();
    return read.family->read_config(read.config).value().tied_embeddings;
  };
  EXPECT_FALSE(is_tied("llava", nullptr, nullptr));
  EXPECT_TRUE(is_tied("llava", nullptr, true));
  EXPECT_TRUE(is_tied("llava", true, false));
  EXPECT_FALSE(is_tied("llava_next", nullptr, true));
  EXPECT_TRUE(is_tied("gemma3", nullptr, false));
  EXPECT_FALSE(is_tied("gemma3", false, true));
}

TEST(CompositeTest, ReadsTheLanguageModelWithItsClassesDefaults) {
  const json config = {{"model_type", "llava"}, {"text_config", {{"vocab_size", 32064}}}};
  const Family& llava = *FamilyOf(config).value();
  const TextConfig text = TextConfigOf(llava, config).value();
  EXPECT_EQ(text.family->name(), "llama");
  const ModelConfig read = text.family->read_config(text.config).value();
  EXPECT_EQ(read.vocabulary, 32064);
  EXPECT_EQ(read.hidden_size, 4096);
  EXPECT_EQ(read.layers, 32);
  EXPECT_THAT(std::string(TextConfigOf(llava, {{"model_type", "llava"}}).status().message()),
              HasSubstr("'text_config' must be an object"));
  const json unknown = {{"model_type", "llava"}, {"text_config", {{"model_type", "mamba"}}}};
  EXPECT_THAT(std::string(TextConfigOf(llava, unknown).status().message()), HasSubstr("'text_config'"));
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

TEST(BartTest, ReadsWhatEncoderAndDecoderHaveInCommon) {
  json config = Bart("mbart");
  config["decoder_start_token_id"] = nullptr;
  EXPECT_EQ(DefaultsOf(config).decoder_start_token, 2);
  EXPECT_EQ(DefaultsOf(config).layers, 1 + 2 * 2);
  config["decoder_start_token_id"] = 50;
  EXPECT_THAT(RefusalOf(config), AllOf(HasSubstr("decoder_start_token_id"), HasSubstr("50 tokens")));
  config["decoder_start_token_id"] = 49;
  config["decoder_attention_heads"] = 2;
  EXPECT_THAT(RefusalOf(config), AllOf(HasSubstr("encoder_attention_heads"), HasSubstr("decoder_attention_heads")));
  config = Bart("bart");
  config["decoder_ffn_dim"] = 15;
  EXPECT_THAT(RefusalOf(config), AllOf(HasSubstr("encoder_ffn_dim"), HasSubstr("decoder_ffn_dim")));
}

json T5Gemma() {
  json stack = LlamaLike("t5gemma_module");
  stack.update(
      {{"num_key_value_heads", 32}, {"head_dim", 4}, {"layer_types", {"sliding_attention", "full_attention"}}});
  return {{"model_type", "t5gemma"}, {"encoder", stack}, {"decoder", stack}};
}

TEST(T5GemmaTest, SharesTheKindsOfEncoderAndDecoder) {
  const ModelConfig config = DefaultsOf(T5Gemma());
  EXPECT_EQ(config.kinds.size(), 3u);
  EXPECT_THAT(config.kind_of_layers, ElementsAre(0, 1, 0, 2, 1, 2));
  EXPECT_EQ(config.kinds[2].rotary.width, 0);
  EXPECT_EQ(config.decoder_start_token, 2);
}

TEST(T5GemmaTest, NamesTheSectionOfAKey) {
  json config = T5Gemma();
  config["encoder"]["bos_token_id"] = nullptr;  // Only the decoder begins with it.
  EXPECT_EQ(DefaultsOf(config).decoder_start_token, 2);
  config["decoder"]["bos_token_id"] = 50;
  EXPECT_THAT(RefusalOf(config), AllOf(HasSubstr("'bos_token_id' is 50"), HasSubstr("'decoder'")));
  config = T5Gemma();
  config["encoder"]["num_key_value_heads"] = 16;
  EXPECT_THAT(RefusalOf(config), HasSubstr("'num_key_value_heads' must be the same in 'encoder' and 'decoder'"));
  config.erase("encoder");
  EXPECT_THAT(RefusalOf(config), HasSubstr("'encoder' must be an object"));
}

TEST(MarianTest, RefusesEmbeddingsOfItsOwnForTheDecoder) {
  json config = Bart("marian");
  config["decoder_start_token_id"] = 0;
  config["share_encoder_decoder_embeddings"] = false;
  EXPECT_THAT(RefusalOf(config), HasSubstr("share_encoder_decoder_embeddings"));
}

TEST(T5Test, RefusesAFirstTokenThatTheVocabularyDoesNotHave) {
  EXPECT_THAT(RefusalOf(T5({{"decoder_start_token_id", 50}})), HasSubstr("decoder_start_token_id"));
}

TEST(T5Test, NamesTheFileOnce) {
  EXPECT_THAT(RefusalOf(T5({{"feed_forward_proj", "gelu-gated"}})),
              AllOf(HasSubstr("config.json: feed_forward_proj"), Not(HasSubstr("config.json: config.json"))));
}

}  // namespace
}  // namespace regroup
