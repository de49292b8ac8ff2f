#include "trainer/report/data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

Json WithPerplexities(const Json& source, const Json& result) {
  return {{"source", {{"perplexity", source}}}, {"result", {{"perplexity", result}}}};
}

TEST(CheckGatesTest, LetsAResultPassUpToTheAllowedRatio) {
  v1::Gates gates;
  gates.set_max_perplexity_ratio(1.5);
  EXPECT_TRUE(CheckGates(gates, WithPerplexities(10.0, 15.0)).ok());
  EXPECT_TRUE(CheckGates(gates, WithPerplexities(10.0, 9.0)).ok());
}

TEST(CheckGatesTest, StopsAWorseResultAndSaysBothRatios) {
  v1::Gates gates;
  gates.set_max_perplexity_ratio(1.5);
  const absl::Status status = CheckGates(gates, WithPerplexities(10.0, 15.2));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), testing::AllOf(testing::HasSubstr("gates.max_perplexity_ratio"),
                                                            testing::HasSubstr("1.520"), testing::HasSubstr("1.5 ")));
}

TEST(CheckGatesTest, StopsAResultWhosePerplexityIsNotANumber) {
  v1::Gates gates;
  gates.set_max_perplexity_ratio(1.5);
  EXPECT_EQ(CheckGates(gates, WithPerplexities(10.0, nullptr)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CheckGates(gates, {{"source", {{"perplexity", 1.0}}}, {"result", Json::object()}}).code(),
            absl::StatusCode::kOutOfRange);
}

TEST(CheckGatesTest, WithoutGatesEverythingPasses) { EXPECT_TRUE(CheckGates({}, WithPerplexities(1.0, 1000.0)).ok()); }

}  // namespace
}  // namespace regroup
