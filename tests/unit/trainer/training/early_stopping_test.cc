#include "trainer/training/early_stopping.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace regroup {
namespace {

TEST(EarlyStoppingTest, StopsAfterSoManyMeasurementsInARowThatAreNoBetter) {
  EarlyStopping stopping(2);
  stopping.Add(10, 8);
  stopping.Add(20, 9);
  stopping.Add(30, 7);
  stopping.Add(40, 7);
  EXPECT_FALSE(stopping.stops());
  stopping.Add(50, 7.5);
  EXPECT_TRUE(stopping.stops());
  EXPECT_EQ(stopping.best(), 7);
  EXPECT_EQ(stopping.best_step(), 30);
}

TEST(EarlyStoppingTest, TakesNothingThatIsNotANumberForBetter) {
  EarlyStopping stopping(2);
  stopping.Add(1, std::numeric_limits<double>::quiet_NaN());
  stopping.Add(2, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(stopping.stops());
}

TEST(EarlyStoppingTest, NeverStopsWithoutPatience) {
  EarlyStopping stopping(0);
  for (int64_t step = 1; step < 100; ++step) stopping.Add(step, 5);
  EXPECT_FALSE(stopping.stops());
}

TEST(EarlyStoppingTest, GoesOnFromItsState) {
  EarlyStopping first(2), second(2);
  EXPECT_TRUE(second.Load(first.State()).ok());
  EXPECT_EQ(second.best(), std::numeric_limits<double>::infinity());
  first.Add(3, 1.0 / 3);
  first.Add(4, 5);
  ASSERT_TRUE(second.Load(first.State()).ok());
  EXPECT_EQ(second.best(), 1.0 / 3);
  EXPECT_EQ(second.best_step(), 3);
  EXPECT_FALSE(second.stops());
  second.Add(5, 5);
  EXPECT_TRUE(second.stops());
}

TEST(EarlyStoppingTest, RefusesAStateOfAnotherShape) {
  EarlyStopping stopping(2);
  EXPECT_EQ(stopping.Load(at::zeros({2}, at::kDouble)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(stopping.Load(at::zeros({3}, at::kFloat)).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace regroup
