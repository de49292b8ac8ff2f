#include "trainer/event_files/histogram.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <vector>

namespace regroup {
namespace {

using testing::ElementsAre;

TEST(CountByBucketsTest, CountsThirtyBucketsOfEqualWidth) {
  // Two values in the middle of each bucket from 0 to 30, and the ends.
  std::vector<double> values = {0, 30};
  for (int bucket = 0; bucket < 30; ++bucket) values.insert(values.end(), {bucket + 0.25, bucket + 0.75});
  const tensorboard::HistogramProto histogram = CountByBuckets(values);
  ASSERT_EQ(histogram.bucket_size(), 30);
  ASSERT_EQ(histogram.bucket_limit_size(), 30);
  for (int bucket = 0; bucket < 30; ++bucket) {
    EXPECT_NEAR(histogram.bucket_limit(bucket), bucket + 1, 1e-12);
    EXPECT_EQ(histogram.bucket(bucket), bucket == 0 || bucket == 29 ? 3 : 2) << bucket;
  }
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_EQ(histogram.max(), 30);
  EXPECT_EQ(histogram.num(), 62);
  EXPECT_DOUBLE_EQ(histogram.sum(), 930);
  EXPECT_DOUBLE_EQ(histogram.sum_squares(), std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

TEST(CountByBucketsTest, PutsEqualValuesIntoOneBucket) {
  const tensorboard::HistogramProto histogram = CountByBuckets(std::vector<double>(5, 0.0));
  EXPECT_THAT(histogram.bucket_limit(), ElementsAre(0));
  EXPECT_THAT(histogram.bucket(), ElementsAre(5));
}

TEST(CountByBucketsTest, LeavesOutWhatIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(CountByBuckets(std::vector{1.0, infinity, nan, -infinity}).num(), 1);
  EXPECT_EQ(CountByBuckets(std::vector{nan}).bucket_size(), 0);
  EXPECT_EQ(CountByBuckets({}).num(), 0);
}

}  // namespace
}  // namespace regroup
