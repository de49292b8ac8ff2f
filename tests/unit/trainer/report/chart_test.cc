#include "trainer/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

namespace regroup {
namespace {

using testing::HasSubstr;

TEST(LineChartTest, DrawsEverySeriesWithItsNameAndErrorBars) {
  const std::string chart = LineChart({.title = "Ratio", .x_label = "KV heads", .x_by_rank = true},
                                      {{.name = "principal", .points = {{1, 1.5, 1.4, 1.6}, {4, 1.1, 1.05, 1.15}}},
                                       {.name = "none <b>", .points = {{1, 3.0}, {4, 2.0}}}});
  EXPECT_THAT(chart, HasSubstr("aria-label=\"Ratio\""));
  EXPECT_THAT(chart, HasSubstr("principal: 1.500 at 1"));
  EXPECT_THAT(chart, HasSubstr("none &lt;b&gt;"));
  EXPECT_THAT(chart, testing::Not(HasSubstr("<b>")));
  const std::regex bars("<line class=\"line s0\"");
  EXPECT_EQ(std::distance(std::sregex_iterator(chart.begin(), chart.end(), bars), std::sregex_iterator()), 2);
}

TEST(LineChartTest, HigherValuesAreHigherOnThePage) {
  const std::string chart = LineChart({.title = "t"}, {{.name = "s", .points = {{0, 1}, {1, 2}}}});
  std::smatch match;
  ASSERT_TRUE(std::regex_search(chart, match, std::regex("d=\"M([0-9.]+) ([0-9.]+)L([0-9.]+) ([0-9.]+)\"")));
  EXPECT_LT(std::stod(match[1]), std::stod(match[3]));
  EXPECT_GT(std::stod(match[2]), std::stod(match[4]));
}

TEST(LineChartTest, SaysSoWhereNothingWasMeasured) {
  EXPECT_THAT(LineChart({.title = "t"}, {{.name = "s", .points = {{0, NAN}}}}), HasSubstr("Nothing was measured"));
  EXPECT_THAT(LineChart({.title = "t"}, {}), HasSubstr("Nothing was measured"));
}

TEST(LineChartTest, HasNoPlaceThatIsNotANumber) {
  for (const bool logarithmic : {false, true}) {
    const std::string chart =
        LineChart({.title = "t", .y_logarithmic = logarithmic}, {{.name = "s", .points = {{3, 0.5}}}});
    EXPECT_THAT(chart, testing::Not(HasSubstr("nan")));
    EXPECT_THAT(chart, testing::Not(HasSubstr("inf")));
  }
}

TEST(BarChartTest, ShowsValueAndMark) {
  const std::string chart = BarChart("Speed-up", "measured", "bound", {{"batch 1", 1.75, 2.25}});
  EXPECT_THAT(chart, HasSubstr(">1.75<"));
  EXPECT_THAT(chart, HasSubstr("batch 1"));
  EXPECT_THAT(chart, HasSubstr("bound"));
}

}  // namespace
}  // namespace regroup
