#include "trainer/model_folder/conversion.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"

namespace regroup {
namespace {

using testing::HasSubstr;

class ConversionTest : public testing::Test {
 protected:
  ConversionTest() { WriteSource({}); }

  void WriteSource(const TinyLlama& tiny) {
    tiny.Write(folder_.path());
    source_ = std::make_unique<SourceModel>(*SourceModel::Open(folder_.path()));
    conversion_ = *Conversion::Average(source_->config(), 2);
  }
  Block Merged(int64_t layer) const {
    Block block = *source_->MapBlock(layer);
    const absl::Status status = conversion_.Merge(block, layer);
    EXPECT_TRUE(status.ok()) << status;
    return block;
  }
  absl::Status MergeStatus(int64_t layer) const {
    Block block = *source_->MapBlock(layer);
    return conversion_.Merge(block, layer);
  }
  static std::map<std::string, at::Tensor> TensorsOf(Block block, int64_t layer) {
    std::map<std::string, at::Tensor> tensors;
    VisitBlock(block, layer, [&](const std::string& name, at::Tensor& tensor) {
      if (tensor.defined()) tensors[name] = tensor;
    });
    return tensors;
  }

  TemporaryFolder folder_;
  std::unique_ptr<SourceModel> source_;
  Conversion conversion_;
};

TEST_F(ConversionTest, TrainedTensorsReplaceThoseOfTheirLayerAlone) {
  const std::map<std::string, at::Tensor> before = TensorsOf(Merged(1), 1), other_before = TensorsOf(Merged(0), 0);
  const at::Tensor key = at::full({12, 10}, 0.25), output = at::full({10, 24}, -2.0);
  conversion_.SetTrained(1, {{"layers.1.attention.key.weight", key}, {"layers.1.attention.output.weight", output}});
  for (const auto& [name, tensor] : TensorsOf(Merged(1), 1)) {
    const bool is_key = name == "layers.1.attention.key.weight", is_output = name == "layers.1.attention.output.weight";
    EXPECT_TRUE(at::equal(tensor, is_key ? key : is_output ? output : before.at(name))) << name;
  }
  for (const auto& [name, tensor] : TensorsOf(Merged(0), 0)) EXPECT_TRUE(at::equal(tensor, other_before.at(name)));
}

TEST_F(ConversionTest, TrainedTensorsGetTheSourcesType) {
  WriteSource({.dtype = at::kBFloat16});
  const at::Tensor key = at::full({12, 10}, 0.1F);
  conversion_.SetTrained(0, {{"layers.0.attention.key.weight", key}});
  EXPECT_TRUE(at::equal(Merged(0).attention.key.weight, key.to(at::kBFloat16)));
}

TEST_F(ConversionTest, RefittedOutputsReplaceTheTrainedOnes) {
  conversion_.SetTrained(0, {{"layers.0.attention.output.weight", at::full({10, 24}, 1.0)},
                             {"layers.0.attention.query.weight", at::full({24, 10}, 2.0)}});
  conversion_.SetOutputs({at::full({10, 24}, 3.0), at::full({10, 24}, 4.0)});
  EXPECT_TRUE(at::equal(Merged(0).attention.output.weight, at::full({10, 24}, 3.0)));
  EXPECT_TRUE(at::equal(Merged(0).attention.query.weight, at::full({24, 10}, 2.0)));
  EXPECT_TRUE(at::equal(Merged(1).attention.output.weight, at::full({10, 24}, 4.0)));
}

TEST_F(ConversionTest, AnUnknownNameIsDataLossThatNamesTheLayer) {
  for (const char* name : {"layers.1.attention.keys.weight", "layers.0.attention.key.weight", "key"}) {
    conversion_.SetTrained(1, {{"layers.1.attention.key.weight", at::zeros({12, 10})}, {name, at::zeros({12, 10})}});
    const absl::Status status = MergeStatus(1);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("layer 1")) << name;
  }
}

TEST_F(ConversionTest, AnotherShapeIsDataLossThatNamesTheTensor) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{24, 10}, {10, 12}, {120}}) {
    conversion_.SetTrained(1, {{"layers.1.attention.key.weight", at::zeros(shape)}});
    const absl::Status status = MergeStatus(1);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << shape;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'layers.1.attention.key.weight'")) << shape;
  }
}

TEST_F(ConversionTest, ATensorThatTheModelDoesNotHaveIsDataLossThatNamesIt) {
  conversion_.SetTrained(0, {{"layers.0.attention.key.bias", at::zeros({12})}});
  const absl::Status status = MergeStatus(0);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'layers.0.attention.key.bias'"));
}

TEST_F(ConversionTest, TheWholeModelHasTheTrainedTensors) {
  conversion_.SetTrained(1, {{"layers.1.attention.value.weight", at::full({12, 10}, 0.5)}});
  const auto model = LoadMerged(*source_, conversion_, at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(at::equal(model->blocks[1].attention.value.weight, at::full({12, 10}, 0.5)));
  EXPECT_FALSE(at::equal(model->blocks[0].attention.value.weight, at::full({12, 10}, 0.5)));
  conversion_.SetTrained(1, {{"layers.1.attention.value.weight", at::zeros({12, 11})}});
  EXPECT_EQ(LoadMerged(*source_, conversion_, at::kFloat, at::kCPU).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace regroup
