#include "trainer/optim/schedule.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(RateScheduleTest, RisesLinearlyThenFallsAlongHalfACosine) {
  const RateSchedule schedule{.peak = 2.0, .steps = 232, .warm_up_steps = 32};
  EXPECT_DOUBLE_EQ(schedule.At(0), 2.0 / 32);
  EXPECT_DOUBLE_EQ(schedule.At(15), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(31), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(32), 2.0);
  // At a quarter, a half and three quarters of the cosine: 1 +- sqrt(1/2), halved, times the peak.
  EXPECT_NEAR(schedule.At(82), 1.7071067811865475, 1e-12);
  EXPECT_NEAR(schedule.At(132), 1.0, 1e-12);
  EXPECT_NEAR(schedule.At(182), 0.2928932188134524, 1e-12);
}

TEST(RateScheduleTest, EndsNearTheFinalRatioAndStaysThere) {
  const RateSchedule schedule{.peak = 1.0, .steps = 1000, .warm_up_steps = 10, .final_ratio = 0.1};
  EXPECT_GT(schedule.At(999), 0.1);
  EXPECT_NEAR(schedule.At(999), 0.1, 1e-5);
  EXPECT_DOUBLE_EQ(schedule.At(5000), 0.1);
}

TEST(RateScheduleTest, ShortRunsWarmUpForAQuarterOfTheirSteps) {
  const RateSchedule schedule{.peak = 1.0, .steps = 8, .warm_up_steps = 32};
  EXPECT_DOUBLE_EQ(schedule.At(0), 0.5);
  EXPECT_DOUBLE_EQ(schedule.At(1), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(5), 0.5);
}

TEST(RateScheduleTest, ARunOfOneStepTakesThePeak) {
  EXPECT_DOUBLE_EQ((RateSchedule{.peak = 0.25, .steps = 1}.At(0)), 0.25);
}

TEST(RateScheduleTest, NeverLeavesTheRangeFromZeroToPeak) {
  for (const int64_t steps : {1, 2, 3, 5, 33, 100}) {
    const RateSchedule schedule{.peak = 3.0, .steps = steps};
    for (int64_t step = 0; step < steps; ++step) {
      EXPECT_GT(schedule.At(step), 0.0);
      EXPECT_LE(schedule.At(step), 3.0);
    }
  }
}

}  // namespace
}  // namespace regroup
