#include "trainer/model_folder/source_model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/family_folder.h"
#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "trainer/model_folder/converted_folder.h"
#include "trainer/nn/positions.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// By default the error of a folder that is not what its own files say.
std::string ErrorOf(const std::filesystem::path& folder, absl::StatusCode code = absl::StatusCode::kDataLoss) {
  const auto source = SourceModel::Open(folder);
  EXPECT_FALSE(source.ok());
  EXPECT_EQ(source.status().code(), code);
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
  expected.config.kinds[0].rotary.inverse_frequencies = {1.0, std::pow(100.0, -1.0 / 3.0), std::pow(100.0, -2.0 / 3.0)};
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

/// Returns the tensors of a tiny LLaMA under the names of a composite, and one of another part.
std::map<std::string, at::Tensor> CompositeTensors(bool old_names) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : TinyLlama().MakeTensors()) {
    const bool in_base = name.starts_with("model.");
    const std::string prefix = old_names ? "language_model." : in_base ? "model.language_model." : "";
    tensors[prefix + (in_base && !old_names ? name.substr(6) : name)] = tensor;
  }
  tensors["model.vision_tower.weight"] = at::ones({3});
  return tensors;
}

TEST(SourceModelTensorsTest, FindsTheLanguageModelOfAComposite) {
  const nlohmann::json config = {{"model_type", "llava"}, {"text_config", TinyLlama().MakeConfig()}};
  const auto stored = TinyLlama().MakeTensors();
  for (const bool old_names : {false, true}) {
    TemporaryFolder folder;
    WriteFolder(folder.path(), config, CompositeTensors(old_names));
    const auto source = SourceModel::Open(folder.path());
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ(source->family().name(), "llama");
    EXPECT_EQ(source->composite()->name(), "llava");
    EXPECT_EQ(source->own_tensors().size(), stored.size());
    ASSERT_EQ(source->other_tensors().size(), 1u);
    EXPECT_EQ(source->other_tensors().front().name, "model.vision_tower.weight");
    EXPECT_TRUE(source->MapBlock(1)->attention.value.weight.equal(stored.at("model.layers.1.self_attn.v_proj.weight")));
    EXPECT_TRUE(source->MapOuter()->head.weight.equal(stored.at("lm_head.weight")));
    EXPECT_THAT(source->notes(), testing::ElementsAre(AllOf(HasSubstr("family llama"), HasSubstr("copied"))));
  }
}

TEST(SourceModelErrorTest, NamesTheTextConfigOfAComposite) {
  TemporaryFolder folder;
  nlohmann::json config = {{"model_type", "llava"}, {"text_config", TinyLlama().MakeConfig()}};
  config["text_config"]["num_attention_heads"] = -1;
  WriteFolder(folder.path(), config, CompositeTensors(false));
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr("'num_attention_heads'"), HasSubstr("'text_config'")));
}

TEST(SourceModelTensorsTest, ReadsExpertsOneByOneAndStacked) {
  TemporaryFolder folder, stacked_folder;
  const nlohmann::json config = FamilyConfig("qwen2_moe");
  WriteFamilyFolder(folder.path(), config, 3);
  const auto source = SourceModel::Open(folder.path());
  ASSERT_TRUE(source.ok()) << source.status();
  const int64_t count = source->config().experts.count;
  std::map<std::string, at::Tensor> tensors;
  for (const TensorInfo& info : source->own_tensors()) {
    if (info.name.find(".experts.") == std::string::npos) tensors[info.name] = *source->folder().Tensor(info.name);
  }
  for (int64_t layer = 0; layer < source->config().layers; ++layer) {
    const Block block = *source->MapBlock(layer);
    std::vector<at::Tensor> gate_up, down;
    for (const FeedForward& expert : block.feed_forward.experts) {
      gate_up.push_back(at::cat({expert.gate.weight, expert.up.weight}));
      down.push_back(expert.down.weight);
    }
    ASSERT_EQ(std::ssize(down), count);
    tensors[fmt::format("model.layers.{}.mlp.experts.gate_up_proj", layer)] = at::stack(gate_up);
    tensors[fmt::format("model.layers.{}.mlp.experts.down_proj", layer)] = at::stack(down);
  }
  WriteFolder(stacked_folder.path(), config, tensors);
  const auto stacked = SourceModel::Open(stacked_folder.path());
  ASSERT_TRUE(stacked.ok()) << stacked.status();
  EXPECT_EQ(stacked->ParameterCount(), source->ParameterCount());
  Block one_by_one = *source->MapBlock(1), from_stack = *stacked->MapBlock(1);
  std::map<std::string, at::Tensor> expected;
  VisitBlock(one_by_one, 1, [&](const std::string& name, at::Tensor& tensor) { expected[name] = tensor; });
  VisitBlock(from_stack, 1, [&](const std::string& name, at::Tensor& tensor) {
    ASSERT_EQ(tensor.defined(), expected[name].defined()) << name;
    if (tensor.defined()) EXPECT_TRUE(tensor.equal(expected[name])) << name;
  });
  const std::string name = "model.layers.1.mlp.experts.down_proj";
  tensors[name] = tensors[name].narrow(0, 0, count - 1).clone();
  TemporaryFolder too_few;
  WriteFolder(too_few.path(), config, tensors);
  EXPECT_THAT(ErrorOf(too_few.path()), HasSubstr("experts.down_proj' has shape"));
}

TEST(SourceModelTensorsTest, LeavesOutPositionsThatTheModelComputes) {
  TemporaryFolder folder;
  const nlohmann::json config = FamilyConfig("pegasus");
  auto tensors = FamilyTensors(config, 7);
  WriteFolder(folder.path(), config, tensors);
  const auto bare = SourceModel::Open(folder.path());
  ASSERT_TRUE(bare.ok()) << bare.status();
  const std::string name = "model.decoder.embed_positions.weight";
  const at::Tensor table = SinusoidalPositions(at::arange(9, at::kLong), bare->config());
  tensors[name] = table.to(at::kBFloat16);
  WriteFolder(folder.path(), config, tensors);
  const auto source = SourceModel::Open(folder.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->ParameterCount(), bare->ParameterCount());
  EXPECT_TRUE(source->notes().empty());
  EXPECT_EQ(source->ComputedPositions()->front().first, name);

  table[3][1] += 0.1;
  tensors[name] = table;
  WriteFolder(folder.path(), config, tensors);
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr(name), HasSubstr("sines and cosines"), HasSubstr("pegasus")));
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
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr((folder.path() / "config.json").string()), HasSubstr("'num_hidden_layers'")));
}

TEST(SourceModelErrorTest, AShapeThatConfigDoesNotAskForCountsAgainstTheConfig) {
  TemporaryFolder folder;
  TinyLlama{.config_changes = {{"num_key_value_heads", 2}}}.Write(folder.path());
  EXPECT_THAT(ErrorOf(folder.path()), AllOf(HasSubstr("k_proj.weight"), HasSubstr("[24, 10]"), HasSubstr("[12, 10]")));
}

TEST(SourceModelErrorTest, SaysThatTensorsAreQuantisedOrWaitForAnAdapter) {
  TemporaryFolder folder;
  for (const auto& [stored, said] : {std::pair("qweight", "quantised"), std::pair("base_layer.weight", "merge")}) {
    auto tensors = TinyLlama().MakeTensors();
    auto moved = tensors.extract("model.layers.1.self_attn.v_proj.weight");
    moved.key() = std::string("model.layers.1.self_attn.v_proj.") + stored;
    tensors.insert(std::move(moved));
    WriteFolder(folder.path(), TinyLlama().MakeConfig(), tensors);
    EXPECT_THAT(ErrorOf(folder.path()),
                AllOf(HasSubstr("v_proj.weight' is missing"), HasSubstr(stored), HasSubstr(said)));
  }
}

using Renaming = std::string (*)(const std::string& name);

std::string Bare(const std::string& name) { return name.starts_with("model.") ? name.substr(6) : name; }
std::string Compiled(const std::string& name) { return "_orig_mod." + name; }
std::string Parallel(const std::string& name) { return "module." + name; }
std::string ParallelBare(const std::string& name) { return "module." + Bare(name); }
std::string Prefixed(const std::string& name) { return name == "lm_head.weight" ? "model." + name : name; }

std::map<std::string, at::Tensor> Renamed(Renaming renaming) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : TinyLlama().MakeTensors()) tensors[renaming(name)] = tensor;
  return tensors;
}

TEST(SourceModelNamesTest, FindsTensorsUnderTheNamesOfWrappersAndBareModels) {
  for (const Renaming renaming : {Bare, Compiled, Parallel, ParallelBare, Prefixed}) {
    TemporaryFolder folder;
    WriteFolder(folder.path(), TinyLlama().MakeConfig(), Renamed(renaming));
    const auto source = SourceModel::Open(folder.path());
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_FALSE(source->notes().empty());
    const auto model = source->Map();
    ASSERT_TRUE(model.ok()) << model.status();
    const auto tensors = TinyLlama().MakeTensors();
    EXPECT_TRUE(at::equal(model->embedding, tensors.at("model.embed_tokens.weight")));
    EXPECT_TRUE(at::equal(model->head.weight, tensors.at("lm_head.weight")));
    EXPECT_TRUE(at::equal(model->blocks[1].attention.key.weight, tensors.at("model.layers.1.self_attn.k_proj.weight")));
  }
}

TEST(SourceModelNamesTest, SaysNothingOfTheUsualNames) {
  TemporaryFolder folder;
  TinyLlama().Write(folder.path());
  EXPECT_TRUE(SourceModel::Open(folder.path())->notes().empty());
}

TEST(SourceModelNamesTest, RefusesATensorThatIsThereUnderTwoNames) {
  TemporaryFolder folder;
  auto tensors = TinyLlama().MakeTensors();
  tensors["layers.0.mlp.down_proj.weight"] = at::zeros({10, 14});
  WriteFolder(folder.path(), TinyLlama().MakeConfig(), tensors);
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("'model.layers.0.mlp.down_proj.weight' and 'layers.0.mlp"));
}

TEST(SourceModelTensorsTest, OnlyItsOwnTensorsCount) {
  TemporaryFolder plain, full;
  const TinyLlama half{.dtype = at::kHalf};
  half.Write(plain.path());
  auto tensors = half.MakeTensors();
  tensors["model.layers.0.attention.bias"] = at::ones({1, 1, 100, 100}, at::kByte);
  tensors["model.layers.0.rotary_emb.inv_freq"] = at::ones({100, 100});
  tensors["model.layers.2.self_attn.q_proj.weight"] = at::ones({24, 10}, at::kDouble);
  WriteFolder(full.path(), half.MakeConfig(), tensors);
  const auto expected = SourceModel::Open(plain.path());
  const auto source = SourceModel::Open(full.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->dtype(), at::kHalf);
  EXPECT_EQ(source->ParameterCount(), expected->ParameterCount());
  EXPECT_EQ(DtypeSummary(source->own_tensors()), DtypeSummary(expected->own_tensors()));
}

}  // namespace
}  // namespace regroup
