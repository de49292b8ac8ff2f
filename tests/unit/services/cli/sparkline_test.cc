#include "services/cli/sparkline.h"

#include <gtest/gtest.h>

#include <cmath>

namespace regroup {
namespace {

TEST(SparklineTest, TheLowestAndTheHighestValueHaveTheLowestAndTheHighestMark) {
  EXPECT_EQ(Sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 8, true), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(Sparkline({5, 3, 1}, 8, false), "#=_");
}

TEST(SparklineTest, ALongSeriesIsAveragedAndAShortOneIsNotStretched) {
  EXPECT_EQ(Sparkline({0, 0, 8, 8, 0, 0}, 3, false), "_#_");
  EXPECT_EQ(Sparkline({1}, 6, true), "▁");
}

TEST(SparklineTest, NumbersThatAreNotFiniteAreLeftOut) {
  EXPECT_EQ(Sparkline({1, NAN, 2, INFINITY}, 6, false), "_#");
  EXPECT_EQ(Sparkline({NAN}, 6, true), "");
  EXPECT_EQ(Sparkline({}, 6, true), "");
}

}  // namespace
}  // namespace regroup
