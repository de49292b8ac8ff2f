#include "trainer/model_folder/source_model.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "trainer/model_folder/converted_folder.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string ErrorOf(const std::filesystem::path& folder) {
  const auto source = SourceModel::Open(folder);
  EXPECT_FALSE(source.ok());
  EXPECT_EQ(source.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(source.status().message());
}

struct FolderCase {
  const char* name;
  TinyLlama model;
};

class SourceModelTest : public testing::TestWithParam<FolderCase> {};

TEST_P(SourceModelTest, LoadsAModelThatComputesWhatItsWeightsSay) {
  TemporaryFolder folder;
  const TinyLlama& tiny = GetParam().model;
  tiny.Write(folder.path());
  const auto source = SourceModel::Open(folder.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->dtype(), tiny.dtype);
  const auto model = source->Load(at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();

  Model expected = tiny.MakeModel();
  expected.config.rotary.inverse_frequencies = {1.0, std::pow(100.0, -1.0 / 3.0), std::pow(100.0, -2.0 / 3.0)};
  at::manual_seed(2);
  const at::Tensor tokens = at::randint(0, 23, {1, 12}, at::kLong);
  const at::Tensor logits = RunOutputProjection(*model, RunHiddenStates(*model, tokens)).to(at::kDouble);
  const at::Tensor slow = SlowLogits(expected, tokens);
  EXPECT_LT((logits - slow).abs().max().item<double>(), 1e-5 * slow.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, SourceModelTest,
                         testing::Values(FolderCase{"Plain", {}},
                                         FolderCase{"TiedBfloat16", {.tied = true, .dtype = at::kBFloat16}},
                                         FolderCase{"GroupedWithBiases", {.kv_heads = 2, .biases = true}},
                                         FolderCase{"Float16", {.dtype = at::kHalf}}),
                         [](const auto& info) { return info.param.name; });

TEST(SourceModelTensorsTest, MapsTheAttentionOfALayerAlone) {
  TemporaryFolder folder;
  const TinyLlama tiny{.biases = true};
  tiny.Write(folder.path());
  const auto source = SourceModel::Open(folder.path());
  ASSERT_TRUE(source.ok()) << source.status();
  Block attention = *source->MapAttention(1);
  const auto stored = tiny.MakeTensors();
  EXPECT_TRUE(attention.attention.key.weight.equal(stored.at("model.layers.1.self_attn.k_proj.weight")));
  EXPECT_TRUE(attention.attention.output.bias.equal(stored.at("model.layers.1.self_attn.o_proj.bias")));
  int mapped = 0;
  VisitBlock(attention, 1, [&](const std::string&, at::Tensor& tensor) { mapped += tensor.defined() ? 1 : 0; });
  EXPECT_EQ(mapped, 8);
}

TEST(SourceModelErrorTest, NamesAMissingTensor) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  tensors.erase("model.layers.1.self_attn.v_proj.weight");
  WriteFolder(folder.path(), TinyLlama().MakeConfig(), tensors);
  EXPECT_THAT(ErrorOf(folder.path()), AllOf(HasSubstr(folder.path().string()),
                                            HasSubstr("'model.layers.1.self_attn.v_proj.weight' is missing")));
}

TEST(SourceModelErrorTest, AnUntiedModelNeedsItsOutputProjection) {
  TemporaryFolder folder;
  WriteFolder(folder.path(), TinyLlama().MakeConfig(), TinyLlama{.tied = true}.MakeTensors());
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("'lm_head.weight' is missing"));
}

TEST(SourceModelErrorTest, NamesATensorOfAnotherShapeAndBothShapes) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  tensors["model.layers.0.mlp.down_proj.weight"] = at::zeros({10, 13});
  WriteFolder(folder.path(), TinyLlama().MakeConfig(), tensors);
  EXPECT_THAT(ErrorOf(folder.path()),
              AllOf(HasSubstr("'model.layers.0.mlp.down_proj.weight'"), HasSubstr("[10, 13]"), HasSubstr("[10, 14]")));
}

TEST(SourceModelErrorTest, NamesAMissingBiasAndTheKeyThatAsksForIt) {
  TemporaryFolder folder;
  WriteFolder(folder.path(), TinyLlama{.biases = true}.MakeConfig(), TinyLlama().MakeTensors());
  EXPECT_THAT(ErrorOf(folder.path()), AllOf(HasSubstr("'model.layers.0.self_attn.q_proj.bias' is missing"),
                                            HasSubstr("set attention_bias to false")));
}

TEST(SourceModelTensorsTest, LeavesBiasesAloneThatTheConfigurationDoesNotAskFor) {
  TemporaryFolder folder;
  WriteFolder(folder.path(), TinyLlama().MakeConfig(), TinyLlama{.biases = true}.MakeTensors());
  const auto source = SourceModel::Open(folder.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_FALSE(source->MapBlock(0)->attention.query.bias.defined());
  EXPECT_FALSE(source->MapBlock(1)->feed_forward.down.bias.defined());
  EXPECT_THAT(source->notes(), testing::ElementsAre(AllOf(HasSubstr("14 of the 35 tensors"), HasSubstr("left alone"),
                                                          HasSubstr("model.layers.0.mlp.down_proj.bias"))));
}

/// Opens a LLaMA whose config.json ties head and embedding, with these tensors.
absl::StatusOr<SourceModel> OpenTied(const std::filesystem::path& folder,
                                     const std::map<std::string, at::Tensor>& tensors) {
  WriteFolder(folder, TinyLlama{.tied = true}.MakeConfig(), tensors);
  return SourceModel::Open(folder);
}

TEST(TiedEmbeddingsTest, AHeadThatDiffersIsUsedAndTheResultSaysSo) {
  TemporaryFolder folder;
  const auto tensors = TinyLlama().MakeTensors();
  const auto source = OpenTied(folder.path(), tensors);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_FALSE(source->config().tied_embeddings);
  EXPECT_TRUE(at::equal(source->MapOuter()->head.weight, tensors.at("lm_head.weight")));
  EXPECT_THAT(source->notes(), testing::ElementsAre(HasSubstr("the two are not tied")));
  EXPECT_EQ(ConvertedConfig(*source, source->config(), {}).at("tie_word_embeddings"), false);
}

TEST(TiedEmbeddingsTest, AHeadThatIsEqualIsTied) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight").clone();
  const auto source = OpenTied(folder.path(), tensors);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_TRUE(source->config().tied_embeddings);
  EXPECT_FALSE(source->MapOuter()->head.weight.defined());
  EXPECT_EQ(ConvertedConfig(*source, source->config(), {}).at("tie_word_embeddings"), true);
}

TEST(TiedEmbeddingsTest, AHeadWithoutAnEmbeddingIsBoth) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  const at::Tensor head = tensors.at("lm_head.weight");
  tensors.erase("model.embed_tokens.weight");
  const auto source = OpenTied(folder.path(), tensors);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_TRUE(source->config().tied_embeddings);
  EXPECT_TRUE(at::equal(source->MapOuter()->embedding, head));
}

TEST(TiedEmbeddingsTest, AHeadOfAnotherShapeIsRefusedByName) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  tensors["lm_head.weight"] = at::zeros({24, 10});
  EXPECT_THAT(OpenTied(folder.path(), tensors).status().message(),
              AllOf(HasSubstr("'lm_head.weight'"), HasSubstr("[24, 10]")));
}

TEST(SourceModelErrorTest, NamesABiasOfAnotherShape) {
  TemporaryFolder folder;
  auto tensors = TinyLlama{.biases = true}.MakeTensors();
  tensors["model.layers.1.self_attn.k_proj.bias"] = at::zeros({25});
  WriteFolder(folder.path(), TinyLlama{.biases = true}.MakeConfig(), tensors);
  EXPECT_THAT(ErrorOf(folder.path()), AllOf(HasSubstr("k_proj.bias"), HasSubstr("[25]"), HasSubstr("[24]")));
}

TEST(SourceModelErrorTest, NamesATensorOfAnotherElementType) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  tensors["model.norm.weight"] = at::zeros({10}, at::kLong);
  WriteFolder(folder.path(), TinyLlama().MakeConfig(), tensors);
  EXPECT_THAT(ErrorOf(folder.path()),
              AllOf(HasSubstr("'model.norm.weight'"), HasSubstr("I64"), HasSubstr("F32, F16 or BF16")));
}

TEST(SourceModelErrorTest, NamesTheFileAndTheKeyOfABadConfiguration) {
  TemporaryFolder folder;
  TinyLlama{.config_changes = {{"num_hidden_layers", "two"}}}.Write(folder.path());
  EXPECT_THAT(ErrorOf(folder.path()),
              AllOf(HasSubstr((folder.path() / "config.json").string()), HasSubstr("'num_hidden_layers'")));
}

TEST(SourceModelErrorTest, AShapeThatConfigDoesNotAskForCountsAgainstTheConfig) {
  TemporaryFolder folder;
  TinyLlama{.config_changes = {{"num_key_value_heads", 2}}}.Write(folder.path());
  EXPECT_THAT(ErrorOf(folder.path()), AllOf(HasSubstr("k_proj.weight"), HasSubstr("[24, 10]"), HasSubstr("[12, 10]")));
}

}  // namespace
}  // namespace regroup
