#include "trainer/report/heatmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

TEST(SquarePictureTest, IsAPngOfThatSize) {
  // The bytes of a 2 x 2 header with 4-bit palette colours, and of the end. A browser reads the rest in report_test.py.
  const std::string picture = SquarePicture({0, 15, 15, 0}, 2);
  EXPECT_TRUE(picture.starts_with("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACBAMAAACA")) << picture;
  EXPECT_TRUE(picture.ends_with("AAAAAElFTkSuQmCC")) << picture;
}

TEST(HeatmapTest, PutsTheHeadsInTheOrderOfTheirGroups) {
  const Json matrix = {{1.0, 0.0, 0.5}, {0.0, 1.0, 0.0}, {0.5, 0.0, 1.0}};
  const std::string grouped = Heatmap(matrix, {0, 2, 1}, 0, 1, "text");
  EXPECT_THAT(grouped, testing::HasSubstr(SquarePicture({15, 8, 0, 8, 15, 0, 0, 0, 15}, 3)));
  EXPECT_THAT(grouped, testing::HasSubstr("alt=\"text\""));
}

TEST(HeatmapTest, TheScaleLeavesOutTheDiagonal) {
  const Json first = {{1.0, 0.2}, {0.3, 1.0}};
  const Json second = {{9.0, -0.1}, {0.4, 9.0}};
  const Json missing;
  EXPECT_EQ(RangeOff({&first, &missing, &second}), std::pair(-0.1, 0.4));
  EXPECT_EQ(RangeOff({&missing}), std::pair(0.0, 1.0));
}

}  // namespace
}  // namespace regroup
