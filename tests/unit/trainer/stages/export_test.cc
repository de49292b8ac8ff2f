#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "services/common/base/files.h"
#include "tests/unit/trainer/stages/stage_fixture.h"

namespace regroup {
namespace {

using nlohmann::json;

class ExportTest : public StageFixture {
 protected:
  void WriteSource(const TinyLlama& tiny) {
    tiny.Write(source_folder());
    source_ = std::make_unique<SourceModel>(*SourceModel::Open(source_folder()));
  }
  std::filesystem::path Export() {
    AddAlignments("", source_->config(), 2);
    StageContext context = Context();
    const auto outcome = FindStage(v1::TASK_KIND_EXPORT)(context);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return out() / "checkpoint";
  }
  static json ConfigOf(const std::filesystem::path& folder) { return json::parse(*ReadFile(folder / "config.json")); }

  std::unique_ptr<SourceModel> source_;
};

TEST_F(ExportTest, KeepsEveryKeyOfTheConfigurationAndAddsWhatChanged) {
  WriteSource({.config_changes = {{"some_future_key", {{"nested", {1, 2.5, nullptr}}}}, {"torch_dtype", "float32"}}});
  json expected = ConfigOf(source_folder());
  json written = ConfigOf(Export());
  EXPECT_EQ(written["num_key_value_heads"], 2);
  const json provenance = written["regroup"];
  EXPECT_EQ(provenance["job"], "job-1");
  EXPECT_EQ(provenance["source_digest"], "abc123");
  EXPECT_EQ(provenance["source_kv_heads"], 4);
  EXPECT_EQ(provenance["alignment"], "none");
  EXPECT_EQ(provenance["finetune"], "none");
  written.erase("regroup");
  expected["num_key_value_heads"] = 2;
  EXPECT_EQ(written, expected);
}

TEST_F(ExportTest, AveragesKeysAndValuesAndLeavesAllElseAsItIs) {
  WriteSource({.biases = true, .tied = true});
  const auto result = SourceModel::Open(Export());
  ASSERT_TRUE(result.ok()) << result.status();
  for (const TensorInfo& info : source_->folder().tensors()) {
    const at::Tensor before = *source_->folder().Tensor(info.name);
    const at::Tensor after = *result->folder().Tensor(info.name);
    const bool merged = info.name.find("k_proj") != std::string::npos || info.name.find("v_proj") != std::string::npos;
    const at::Tensor wide = before.to(at::kDouble);
    const at::Tensor expected = merged ? wide.reshape({2, 2, 6, -1}).mean(1).reshape(after.sizes()) : wide;
    EXPECT_TRUE(at::equal(after, expected.to(at::kFloat))) << info.name;
  }
  EXPECT_EQ(result->folder().tensors().size(), source_->folder().tensors().size());
}

TEST_F(ExportTest, WritesTheElementTypeOfTheSource) {
  WriteSource({.dtype = at::kBFloat16});
  const auto result = SourceModel::Open(Export());
  ASSERT_TRUE(result.ok()) << result.status();
  for (const TensorInfo& info : result->folder().tensors()) EXPECT_EQ(info.dtype, SafetensorsDtype::kBF16) << info.name;
}

TEST_F(ExportTest, TensorsThatAreNotTheModelsOwnDecideNothing) {
  const TinyLlama half{.dtype = at::kHalf, .config_changes = {{"quantization_config", {{"quant_method", "fp8"}}}}};
  auto tensors = half.MakeTensors();
  tensors["model.layers.0.attention.bias"] = at::ones({1, 1, 100, 100}, at::kByte);
  WriteFolder(source_folder(), half.MakeConfig(), tensors);
  source_ = std::make_unique<SourceModel>(*SourceModel::Open(source_folder()));
  const std::filesystem::path exported = Export();
  const auto result = SourceModel::Open(exported);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(DtypeSummary(result->folder().tensors()), DtypeSummary(source_->own_tensors()));
  EXPECT_FALSE(ConfigOf(exported).contains("quantization_config"));
}

TEST_F(ExportTest, CopiesTokenizerAndGenerationFilesButNoWeightsOfTheSource) {
  WriteSource({});
  for (const char* name : {"tokenizer.json", "generation_config.json", "tokenizer.model", "merges.txt",
                           "pytorch_model.bin", "other.safetensors", ".hidden.json"}) {
    std::ofstream(source_folder() / name) << "content of " << name;
  }
  std::set<std::string> names;
  const std::filesystem::path exported = Export();
  for (const auto& entry : std::filesystem::directory_iterator(exported)) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"config.json", "model.safetensors", "tokenizer.json",
                                          "generation_config.json", "tokenizer.model", "merges.txt"}));
  EXPECT_EQ(*ReadFile(exported / "tokenizer.model"), "content of tokenizer.model");
}

TEST_F(ExportTest, TakesTheTrainedModelWhereThereIsOne) {
  WriteSource({});
  TinyLlama{.kv_heads = 2, .seed = 77}.Write(MakeInput("finetune") / "model");
  const auto result = SourceModel::Open(Export());
  ASSERT_TRUE(result.ok()) << result.status();
  for (const auto& [name, tensor] : TinyLlama{.kv_heads = 2, .seed = 77}.MakeTensors()) {
    EXPECT_TRUE(at::equal(*result->folder().Tensor(name), tensor)) << name;
  }
}

TEST_F(ExportTest, RefusesATrainedModelWithAnotherNumberOfHeads) {
  WriteSource({});
  TinyLlama{.kv_heads = 1}.Write(MakeInput("finetune") / "model");
  AddAlignments("", source_->config(), 2);
  StageContext context = Context();
  EXPECT_FALSE(FindStage(v1::TASK_KIND_EXPORT)(context).ok());
}

TEST_F(ExportTest, AMissingAlignmentIsOurOwnError) {
  WriteSource({});
  StageContext context = Context();
  const auto outcome = FindStage(v1::TASK_KIND_EXPORT)(context);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(outcome.status().message()), testing::HasSubstr("'align/0'"));
}

}  // namespace
}  // namespace regroup
