#include "services/common/base/bounded_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

using testing::HasSubstr;

std::string Nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

std::string ErrorOf(std::string_view text) {
  const auto json = ParseJsonObject(text);
  EXPECT_EQ(json.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(json.status().message());
}

TEST(BoundedJson, ReadsAnObject) {
  const auto json = ParseJsonObject(R"({"a": [1, {"b": "]]]"}]})");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["a"][1]["b"], "]]]");
}

TEST(BoundedJson, CountsBracketsOutsideOfTextsOnly) {
  EXPECT_EQ(JsonDepth(R"({"[[[[": "{{\"{{\\", "a": [[1], [2]]})"), 3U);
  EXPECT_EQ(JsonDepth(R"("\\")"), 0U);
}

TEST(BoundedJson, RefusesNestingThatWouldOverflowTheStack) {
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth)).ok());
  EXPECT_FALSE(ParseJson(Nested(kMaxJsonDepth + 1)).ok());
  EXPECT_THAT(ErrorOf("{\"a\": " + Nested(1'000'000) + "}"), HasSubstr("more than 100 levels"));
}

TEST(BoundedJson, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf("{\"a\": }"), HasSubstr("is not valid JSON"));
  EXPECT_THAT(ErrorOf("\"\xff\""), HasSubstr("is not valid JSON"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("must hold a JSON object"));
}

TEST(BoundedJson, TakesWholeNumbersOfTheRangeOnly) {
  EXPECT_EQ(IntegerIn<int32_t>(2147483647), 2147483647);
  EXPECT_EQ(IntegerIn<int32_t>(-3), -3);
  EXPECT_EQ(IntegerIn<uint64_t>(18446744073709551615U), 18446744073709551615U);
  for (const nlohmann::json& value :
       {nlohmann::json(2147483648), nlohmann::json(1e300), nlohmann::json(1.0), nlohmann::json("1"),
        nlohmann::json(true), nlohmann::json(18446744073709551615U)}) {
    EXPECT_EQ(IntegerIn<int32_t>(value), std::nullopt) << value;
  }
  EXPECT_EQ(IntegerIn<uint64_t>(-1), std::nullopt);
}

}  // namespace
}  // namespace regroup
