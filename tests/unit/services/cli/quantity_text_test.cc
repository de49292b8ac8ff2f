#include "services/cli/quantity_text.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(QuantityText, DurationsGrowFromSecondsToHours) {
  EXPECT_EQ(DurationText(0.42), "0.4 s");
  EXPECT_EQ(DurationText(9.96), "10 s");
  EXPECT_EQ(DurationText(59.4), "59 s");
  EXPECT_EQ(DurationText(59.6), "1:00");
  EXPECT_EQ(DurationText(185), "3:05");
  EXPECT_EQ(DurationText(3723), "1:02:03");
  EXPECT_EQ(DurationText(-5), "0.0 s");
}

TEST(QuantityText, BytesUseBinaryUnits) {
  EXPECT_EQ(BytesText(512), "512 B");
  EXPECT_EQ(BytesText(6144), "6.0 KiB");
  EXPECT_EQ(BytesText(13.1 * (1ULL << 30)), "13.1 GiB");
}

TEST(QuantityText, ShortCountsStayShort) {
  EXPECT_EQ(ShortCountText(812), "812");
  EXPECT_EQ(ShortCountText(999.6), "1.0k");
  EXPECT_EQ(ShortCountText(1234), "1.2k");
  EXPECT_EQ(ShortCountText(34'590'000), "34.6M");
}

TEST(QuantityText, DigitsAreGroupedInThrees) {
  EXPECT_EQ(GroupedText(0), "0");
  EXPECT_EQ(GroupedText(999), "999");
  EXPECT_EQ(GroupedText(1'234'567), "1,234,567");
  EXPECT_EQ(GroupedText(-1234), "-1,234");
  EXPECT_EQ(GroupedText(-123), "-123");
}

TEST(QuantityText, FiguresKeepTheDigitsThatMatter) {
  EXPECT_EQ(FigureText(33.6123), "33.61");
  EXPECT_EQ(FigureText(188.02), "188.0");
  EXPECT_EQ(FigureText(4), "4");
  EXPECT_EQ(FigureText(0.56789), "0.568");
  EXPECT_EQ(FigureText(0.00000123), "1.23e-06");
}

}  // namespace
}  // namespace regroup
