#include "services/common/base/number_text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace regroup {
namespace {

TEST(NumberText, DurationsGrowFromSecondsToHours) {
  EXPECT_EQ(DurationText(0.42), "0.4 s");
  EXPECT_EQ(DurationText(3.14), "3.1 s");
  EXPECT_EQ(DurationText(9.96), "10 s");
  EXPECT_EQ(DurationText(59.4), "59 s");
  EXPECT_EQ(DurationText(59.6), "1:00");
  EXPECT_EQ(DurationText(125), "2:05");
  EXPECT_EQ(DurationText(185), "3:05");
  EXPECT_EQ(DurationText(3700), "1:01:40");
  EXPECT_EQ(DurationText(3723), "1:02:03");
  EXPECT_EQ(DurationText(-5), "0.0 s");
}

TEST(NumberText, BytesUseBinaryUnits) {
  EXPECT_EQ(BytesText(512), "512 B");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(6144), "6.0 KiB");
  EXPECT_EQ(BytesText(3.0 * (1ULL << 30)), "3.0 GiB");
  EXPECT_EQ(BytesText(13.1 * (1ULL << 30)), "13.1 GiB");
}

TEST(NumberText, DigitsAreGroupedInThrees) {
  EXPECT_EQ(GroupedText(0), "0");
  EXPECT_EQ(GroupedText(999), "999");
  EXPECT_EQ(GroupedText(1'234'567), "1,234,567");
  EXPECT_EQ(GroupedText(-1234), "-1,234");
  EXPECT_EQ(GroupedText(-123), "-123");
}

TEST(NumberText, FiguresKeepTheDigitsThatMatter) {
  EXPECT_EQ(FigureText(33.6123), "33.61");
  EXPECT_EQ(FigureText(33.6149), "33.61");
  EXPECT_EQ(FigureText(188.02), "188.0");
  EXPECT_EQ(FigureText(188.04), "188.0");
  EXPECT_EQ(FigureText(12345.6), "12346");
  EXPECT_EQ(FigureText(3.14159), "3.142");
  EXPECT_EQ(FigureText(-3.14159), "-3.142");
  EXPECT_EQ(FigureText(0.56789), "0.568");
  EXPECT_EQ(FigureText(0.25), "0.250");
  EXPECT_EQ(FigureText(0.0012345), "0.00123");
  EXPECT_EQ(FigureText(0.00000123), "1.23e-06");
  EXPECT_EQ(FigureText(1234567.8), "1.23e+06");
}

TEST(NumberText, WholeFiguresAreCounts) {
  EXPECT_EQ(FigureText(0), "0");
  EXPECT_EQ(FigureText(4), "4");
  EXPECT_EQ(FigureText(12345), "12,345");
}

TEST(NumberText, WhatIsUndefinedIsNoNumber) {
  EXPECT_EQ(FigureText(NAN), "not a number");
  EXPECT_EQ(FigureText(INFINITY), "not a number");
}

}  // namespace
}  // namespace regroup
