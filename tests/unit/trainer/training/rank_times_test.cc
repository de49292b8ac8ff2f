// Tests which rank is called slow, and when.
#include "trainer/training/rank_times.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

at::Tensor Seconds(const std::vector<double>& seconds) { return at::tensor(seconds, at::kDouble); }

TEST(RankTimesTest, ShareHasTheSecondsInTheRanksPlace) {
  RankTimes times(1, 3);
  EXPECT_TRUE(at::equal(times.Share(), Seconds({0, 0, 0})));
  times.Note(2.5);
  EXPECT_TRUE(at::equal(times.Share(), Seconds({0, 2.5, 0})));
}

TEST(RankTimesTest, NamesTheSlowestRankAndTheMedian) {
  RankTimes times(0, 4);
  const auto figures = times.Judge(Seconds({1, 4, 2, 3}));
  ASSERT_TRUE(figures.has_value());
  EXPECT_EQ(figures->slowest_rank, 1);
  EXPECT_EQ(figures->slowest_seconds, 4);
  EXPECT_EQ(figures->median_seconds, 2) << "the lower of 2 and 3";
}

TEST(RankTimesTest, HasNoFiguresOfOneRankOrBeforeTheFirstStep) {
  EXPECT_FALSE(RankTimes(0, 1).Judge(Seconds({3})).has_value());
  EXPECT_FALSE(RankTimes(0, 2).Judge(Seconds({0, 0})).has_value());
}

/// Returns in how many of these steps the rank is said to lag.
int Reports(RankTimes& times, const at::Tensor& seconds, int steps) {
  int reports = 0;
  for (int step = 0; step < steps; ++step) reports += times.Judge(seconds)->lags ? 1 : 0;
  return reports;
}

TEST(RankTimesTest, ALaggingRankIsReportedOnceEachTime) {
  RankTimes times(0, 3);
  const at::Tensor slow = Seconds({1, 1, 1.3}), even = Seconds({1, 1, 1.2});
  EXPECT_EQ(Reports(times, slow, RankTimes::kSteps - 1), 0);
  EXPECT_EQ(Reports(times, slow, 50), 1);
  EXPECT_EQ(Reports(times, even, 50), 0);
  EXPECT_EQ(Reports(times, slow, RankTimes::kSteps), 1);
}

TEST(RankTimesTest, RanksThatAreSlowInTurnsAreNotReported) {
  RankTimes times(0, 3);
  for (int turn = 0; turn < 10; ++turn) {
    EXPECT_EQ(Reports(times, Seconds({1, 1, 2}), RankTimes::kSteps - 1), 0);
    EXPECT_EQ(Reports(times, Seconds({2, 1, 1}), RankTimes::kSteps - 1), 0);
  }
}

}  // namespace
}  // namespace regroup
