#include "trainer/checkpoint/quantisation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/checkpoint/foreign_file.h"
#include "trainer/checkpoint/wrapper_names.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

absl::StatusOr<Quantisation> Read(const json& settings, const json& more = json::object()) {
  json config = {{"quantization_config", settings}};
  config.update(more);
  return ReadQuantisation(config);
}

TEST(QuantisationTest, NamesMethodsThatCannotBeConverted) {
  for (const char* method : {"gptq", "awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "mxfp4", "torchao"}) {
    const absl::Status status = Read({{"quant_method", method}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << method;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("config.json: quantization_config"), HasSubstr(method), HasSubstr("dequantize()")));
  }
  EXPECT_THAT(std::string(Read({{"load_in_4bit", true}}).status().message()), HasSubstr("'bitsandbytes'"));
}

TEST(QuantisationTest, AMethodIsRequired) {
  for (const json& settings : {json::object(), json({{"bits", 4}}), json("gptq"), json({{"quant_method", 4}})}) {
    EXPECT_THAT(std::string(Read(settings).status().message()), HasSubstr("'quant_method'")) << settings;
  }
}

TEST(QuantisationTest, MethodsThatTransformersDoesNotKnowAreIgnoredWithANote) {
  const auto read = Read({{"quant_method", "homemade"}});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(read->has_scales);
  EXPECT_THAT(read->note, HasSubstr("homemade"));
  EXPECT_TRUE(Read(nullptr)->note.empty());
  EXPECT_TRUE(ReadQuantisation(json::object())->note.empty());
}

TEST(QuantisationTest, ReadsTheBlocksOfFp8) {
  const auto blocks = [](const json& settings) { return Read(settings)->block; };
  EXPECT_EQ(blocks({{"quant_method", "fp8"}}), std::vector<int64_t>({128, 128}));
  EXPECT_EQ(blocks({{"quant_method", "fp8"}, {"weight_block_size", {64, 32}}}), std::vector<int64_t>({64, 32}));
  EXPECT_EQ(blocks({{"quant_method", "fp8"}, {"weight_block_size", nullptr}}), std::nullopt);
  for (const json& wrong : {json("128"), json({128}), json({0, 1}), json({1.5, 1}), json({{"a", 1}, {"b", 2}})}) {
    EXPECT_THAT(std::string(Read({{"quant_method", "fp8"}, {"weight_block_size", wrong}}).status().message()),
                HasSubstr("quantization_config.weight_block_size"))
        << wrong;
  }
}

TEST(QuantisationTest, EightBitFloatsAreReadAsTheTypeOfTheConfiguration) {
  const auto target = [](const json& more) { return Read({{"quant_method", "fp8"}}, more)->target; };
  EXPECT_EQ(target({{"dtype", "float16"}}), SafetensorsDtype::kF16);
  EXPECT_EQ(target({{"torch_dtype", "float32"}}), SafetensorsDtype::kF32);
  EXPECT_EQ(target(json::object()), SafetensorsDtype::kBF16);
}

absl::Status Check(std::vector<int64_t> weight, std::vector<int64_t> scale, std::optional<std::vector<int64_t>> block,
                   SafetensorsDtype dtype = SafetensorsDtype::kF32) {
  return CheckScale({.has_scales = true, .block = std::move(block)},
                    {"w", SafetensorsDtype::kF8E4M3, std::move(weight)}, {"w_scale", dtype, std::move(scale)});
}

TEST(QuantisationTest, AScaleIsOneNumberOrAGridOfWholeBlocks) {
  EXPECT_TRUE(Check({8, 6}, {}, std::nullopt).ok());
  EXPECT_TRUE(Check({8, 6}, {1}, {{4, 3}}).ok());
  EXPECT_TRUE(Check({8, 6}, {2, 2}, {{4, 3}}).ok());
  EXPECT_TRUE(Check({3, 6}, {1, 2}, {{4, 3}}).ok());
  EXPECT_TRUE(Check({8, 6}, {8, 1}, std::nullopt).ok());
  // The last rows are a partial block.
  EXPECT_FALSE(Check({9, 6}, {3, 2}, {{4, 3}}).ok());
  EXPECT_FALSE(Check({6, 6}, {2, 2}, {{4, 3}}).ok());
  EXPECT_FALSE(Check({8, 6}, {3, 2}, std::nullopt).ok());
  EXPECT_FALSE(Check({8, 6}, {8}, std::nullopt).ok());
  EXPECT_FALSE(Check({8, 6}, {0, 2}, std::nullopt).ok());
  EXPECT_FALSE(Check({8, 6}, {}, std::nullopt, SafetensorsDtype::kI32).ok());
}

TEST(WrapperNamesTest, LeavesOutWhatWrappersAdd) {
  EXPECT_EQ(WithoutWrappers("_orig_mod.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(WithoutWrappers("module.module._orig_mod.h.0.w"), "h.0.w");
  EXPECT_EQ(WithoutWrappers("_orig_mod.module.h.0.w"), "h.0.w");
  EXPECT_EQ(WithoutWrappers("model.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.mlp.w"),
            "model.layers.0.mlp.w");
}

TEST(WrapperNamesTest, LeavesOtherNamesAsTheyAre) {
  for (const char* name : {"", ".", "a", "a.", "a..b", "model.module.w", "x_orig_mod.w", "module", "_orig_mod"}) {
    EXPECT_EQ(WithoutWrappers(name), name);
  }
}

TEST(ForeignFileTest, NamesWhatIsNotTheFile) {
  const auto kind = [](std::string_view begin) { return ForeignFile(begin, KnownFormat::kSafetensors); };
  EXPECT_THAT(kind("version https://git-lfs.github.com/spec/v1\noid"), HasSubstr("git lfs pull"));
  EXPECT_THAT(kind("<!DOCTYPE HTML><html>"), HasSubstr("HTML"));
  EXPECT_THAT(kind("PK\3\4..."), HasSubstr("pytorch_model.bin"));
  EXPECT_THAT(kind("GGUF...."), HasSubstr("GGUF"));
  EXPECT_THAT(kind("\x1f\x8b..."), HasSubstr("gzip"));
  EXPECT_EQ(kind(""), "");
  EXPECT_EQ(kind(std::string("\x40\0\0\0\0\0\0\0{\"a\"", 12)), "");
}

TEST(ForeignFileTest, NamesWhatIsNotAnArchiveOfTorch) {
  const auto kind = [](std::string_view begin) { return ForeignFile(begin, KnownFormat::kTorch); };
  EXPECT_THAT(kind("\x80\x02\x8a\x0al\xfc\x9c"), HasSubstr("before 1.6"));
  EXPECT_THAT(kind(std::string("\x40\0\0\0\0\0\0\0{\"a\"", 12)), HasSubstr("model.safetensors"));
  EXPECT_EQ(kind("PK\3\4..."), "");
}

}  // namespace
}  // namespace regroup
