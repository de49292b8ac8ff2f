#include "trainer/report/text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace regroup {
namespace {

TEST(ReportTextTest, FiguresHaveTheDigitsThatMatter) {
  EXPECT_EQ(FigureText(33.6149), "33.61");
  EXPECT_EQ(FigureText(188.04), "188.0");
  EXPECT_EQ(FigureText(12345.6), "12346");
  EXPECT_EQ(FigureText(0.25), "0.250");
  EXPECT_EQ(FigureText(0.0012345), "0.00123");
  EXPECT_EQ(FigureText(0), "0");
  EXPECT_EQ(FigureText(NAN), "not a number");
}

TEST(ReportTextTest, ChangesBytesCountsAndTimesReadAsPeopleWriteThem) {
  EXPECT_EQ(ChangeText(1.0342), "+3.4 %");
  EXPECT_EQ(ChangeText(0.99), "-1.0 %");
  EXPECT_EQ(BytesText(512), "512 B");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(3.0 * 1024 * 1024 * 1024), "3.0 GiB");
  EXPECT_EQ(GroupedText(1234567), "1,234,567");
  EXPECT_EQ(GroupedText(-123), "-123");
  EXPECT_EQ(CountText(1, "head"), "1 head");
  EXPECT_EQ(CountText(4, "head"), "4 heads");
  EXPECT_EQ(DurationText(3.14), "3.1 s");
  EXPECT_EQ(DurationText(125), "2 min 5 s");
  EXPECT_EQ(DurationText(3700), "1 h 1 min");
}

TEST(ReportTextTest, NothingOfAUsersTextBecomesMarkup) {
  EXPECT_EQ(Escape("<b>\"a\" & b</b>"), "&lt;b&gt;&quot;a&quot; &amp; b&lt;/b&gt;");
}

}  // namespace
}  // namespace regroup
