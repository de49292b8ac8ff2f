#include "trainer/report/html.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(HtmlTest, ChangesAndCountsReadAsPeopleWriteThem) {
  EXPECT_EQ(ChangeText(1.0342), "+3.4 %");
  EXPECT_EQ(ChangeText(0.99), "-1.0 %");
  EXPECT_EQ(CountText(1, "head"), "1 head");
  EXPECT_EQ(CountText(4, "head"), "4 heads");
}

TEST(HtmlTest, NothingOfAUsersTextBecomesMarkup) {
  EXPECT_EQ(Escape("<b>\"a\" & b</b>"), "&lt;b&gt;&quot;a&quot; &amp; b&lt;/b&gt;");
}

}  // namespace
}  // namespace regroup
