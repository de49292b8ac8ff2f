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

TEST(RateScheduleTest, RisesLinearlyThenFallsAlongAStraightLine) {
  const RateSchedule schedule{.peak = 2.0, .steps = 50, .warm_up_steps = 10, .decay = RateDecay::kLinear};
  EXPECT_DOUBLE_EQ(schedule.At(0), 0.2);
  EXPECT_DOUBLE_EQ(schedule.At(4), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(9), 2.0);
  // 40 steps fall by a twentieth each, and the last one is a twentieth above nothing.
  EXPECT_DOUBLE_EQ(schedule.At(10), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(20), 1.5);
  EXPECT_DOUBLE_EQ(schedule.At(30), 1.0);
  EXPECT_NEAR(schedule.At(49), 0.05, 1e-15);
  EXPECT_EQ(schedule.At(50), 0.0);
  EXPECT_EQ(schedule.At(500), 0.0);
}

TEST(RateScheduleTest, TheStraightLineEndsAtTheFinalRatio) {
  const RateSchedule schedule{
      .peak = 4.0, .steps = 24, .warm_up_steps = 4, .final_ratio = 0.25, .decay = RateDecay::kLinear};
  EXPECT_DOUBLE_EQ(schedule.At(4), 4.0);
  EXPECT_DOUBLE_EQ(schedule.At(9), 3.25);
  EXPECT_DOUBLE_EQ(schedule.At(14), 2.5);
  EXPECT_DOUBLE_EQ(schedule.At(24), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(1000), 1.0);
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
    for (const RateDecay decay : {RateDecay::kCosine, RateDecay::kLinear}) {
      const RateSchedule schedule{.peak = 3.0, .steps = steps, .decay = decay};
      for (int64_t step = 0; step < steps; ++step) {
        EXPECT_GT(schedule.At(step), 0.0);
        EXPECT_LE(schedule.At(step), 3.0);
      }
    }
  }
}

}  // namespace
}  // namespace regroup
