#include "services/cli/quantity_text.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(QuantityText, ShortCountsStayShort) {
  EXPECT_EQ(ShortCountText(812), "812");
  EXPECT_EQ(ShortCountText(999.6), "1.0k");
  EXPECT_EQ(ShortCountText(1234), "1.2k");
  EXPECT_EQ(ShortCountText(34'590'000), "34.6M");
}

}  // namespace
}  // namespace regroup
