#include "trainer/families/config_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "trainer/families/family.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Llama() {
  return {{"model_type", "llama"},    {"hidden_size", 64},       {"num_hidden_layers", 3},
          {"num_attention_heads", 8}, {"intermediate_size", 96}, {"vocab_size", 500}};
}

/// Returns the error for a LLaMA config.json with these keys changed.
std::string ErrorOf(const json& changes) {
  json config = Llama();
  config.update(changes);
  const auto read = FamilyOf(config).value()->read_config(config);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << changes;
  return std::string(read.status().message());
}

TEST(ConfigReader, RefusesAWidthWhoseTablesWouldTakeAllMemory) {
  EXPECT_THAT(ErrorOf({{"head_dim", 2'000'000'000}}), HasSubstr("a head of width 2000000000"));
  EXPECT_THAT(ErrorOf({{"hidden_size", 2'000'000'000}, {"num_attention_heads", 1}}), HasSubstr("2000000000"));
}

TEST(ConfigReader, RefusesSizesWhoseProductsWouldOverflow) {
  EXPECT_THAT(ErrorOf({{"num_hidden_layers", 2'000'000'000}}), HasSubstr("2000000000 layers"));
  EXPECT_THAT(ErrorOf({{"num_attention_heads", 2'000'000'000}, {"head_dim", 2}}), HasSubstr("2000000000"));
  EXPECT_THAT(ErrorOf({{"intermediate_size", 2'000'000'000}}), HasSubstr("2000000000"));
  EXPECT_THAT(ErrorOf({{"vocab_size", 18446744073709551615U}}), HasSubstr("'vocab_size' must be a positive integer"));
  EXPECT_THAT(ErrorOf({{"vocab_size", int64_t{1} << 40}}), HasSubstr("'vocab_size' must be at most"));
}

TEST(ConfigReader, RefusesAShareOfAHeadThatIsMoreThanTheHead) {
  EXPECT_THAT(ErrorOf({{"model_type", "phi"}, {"partial_rotary_factor", 1e300}}), HasSubstr("is at most 1"));
}

TEST(ConfigReader, RefusesAWrongTypeInsideOfRopeScaling) {
  const json yarn = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 4096}, {"truncate", "no"}};
  EXPECT_THAT(ErrorOf({{"rope_scaling", yarn}}), HasSubstr("'truncate' in 'rope_scaling' must be true or false"));
}

TEST(ConfigReader, ShowsTheBeginningOfALongValueOnly) {
  const std::string error = ErrorOf({{"vocab_size", std::string(1'000'000, 'x')}});
  EXPECT_THAT(error, HasSubstr("'vocab_size' must be a positive integer, not \"xxx"));
  EXPECT_LT(error.size(), 300U);
}

}  // namespace
}  // namespace regroup
