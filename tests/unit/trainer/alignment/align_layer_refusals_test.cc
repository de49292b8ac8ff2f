// Tests the inputs that AlignLayer and the reader of an alignment file reject, and their errors.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "attention_cases.h"
#include "trainer/alignment/align_layer.h"

namespace regroup {
namespace {

TEST(AlignLayerRefusals, WeightsThatAreNotFiniteAreNamed) {
  CalibratedLayer layer(CaseNamed("rotary"), 5);
  layer.weights.output = layer.weights.output.clone();
  layer.weights.output[0][0] = std::numeric_limits<double>::quiet_NaN();
  const auto status = AlignLayer(layer.statistics, layer.weights, {.groups = 2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("output projection"));
}

TEST(AlignLayerRefusals, SimilaritiesThatAreNotFiniteAreRefused) {
  CalibratedLayer layer(CaseNamed("rotary"), 5);
  layer.weights.value = layer.weights.value * 1e90;  // Its Gram is finite, but the square of the Gram is not.
  layer.Recalibrate();
  const auto status = AlignLayer(layer.statistics, layer.weights, {.similarity = "distance", .groups = 2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("similarity (distance)"));
}

TEST(AlignLayerRefusals, AnOrderOfHeadsThatCannotBeEqualGroupsIsRefused) {
  const CalibratedLayer layer(CaseNamed("rotary"), 5);
  const auto tensors = AlignLayer(layer.statistics, layer.weights, {.compare = "none", .groups = 2})->ToTensors();
  const std::vector<at::Tensor> orders = {
      at::tensor({0, 1, 2, 2}, at::kLong).view({2, 2}),  // One head appears twice.
      at::tensor({0, 1, 2, 4}, at::kLong).view({2, 2}),  // One head does not exist.
      at::tensor({0, 1, 2}, at::kLong).view({1, 3}),     // One head is missing.
  };
  for (const at::Tensor& order : orders) {
    TensorMap changed(tensors.begin(), tensors.end());
    changed["groups"] = order;
    const auto status = LayerAlignment::FromTensors(layer.shape, changed).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("groups must name every KV head once"));
  }
}

TEST(AlignLayerRefusals, UnknownWordsAndImpossibleGroupsNameTheKey) {
  const CalibratedLayer layer(CaseNamed("rotary"), 5);
  const auto message = [&](const AlignmentOptions& options) {
    const auto status = AlignLayer(layer.statistics, layer.weights, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({.method = "procrust", .groups = 2}), testing::HasSubstr("alignment.method"));
  EXPECT_THAT(message({.compare = "values", .groups = 2}), testing::HasSubstr("alignment.compare"));
  EXPECT_THAT(message({.similarity = "cos", .groups = 2}), testing::HasSubstr("cosine, distance, residual"));
  EXPECT_THAT(message({.groups = 3}), testing::HasSubstr("target.kv_heads"));
  EXPECT_THAT(message({.groups = 0}), testing::HasSubstr("target.kv_heads"));
}

TEST(AlignLayerRefusals, StatisticsWithoutUnitLengthGramsServeEverythingButCosine) {
  const auto attention = CaseNamed("rotary");
  const auto weights = RandomWeights(attention, 1);
  LayerStatistics statistics(attention.shape, false);
  statistics.Accumulate({.input = RandomTokens(80, attention.shape.hidden, 2)});
  const auto status = [&](const AlignmentOptions& options) {
    return AlignLayer(statistics, weights, options).status();
  };
  EXPECT_EQ(status({.similarity = "cosine", .groups = 2}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(status({.similarity = "distance", .groups = 2}).ok());
  EXPECT_TRUE(status({.method = "principal", .compare = "key", .similarity = "residual", .groups = 2}).ok());
  EXPECT_TRUE(status({.method = "principal", .compare = "none", .groups = 2}).ok());
}

}  // namespace
}  // namespace regroup
