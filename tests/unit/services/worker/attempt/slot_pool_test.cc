#include "services/worker/attempt/slot_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using testing::ElementsAre;

TEST(SlotPool, GivesEachTaskSlotsOfItsOwn) {
  SlotPool pool(3, {});
  EXPECT_THAT(pool.Take(2), ElementsAre(0, 1));
  EXPECT_THAT(pool.Take(1), ElementsAre(2));
  EXPECT_EQ(pool.free_slots(), 0);
  pool.Release({1});
  EXPECT_EQ(pool.free_slots(), 1);
  EXPECT_THAT(pool.Take(1), ElementsAre(1));
}

TEST(SlotPool, SlotsShareTheDevicesInTurn) {
  SlotPool pool(4, {"2", "5"});
  EXPECT_EQ(pool.VisibleDevices({0}), "2");
  EXPECT_EQ(pool.VisibleDevices({3}), "5");
  EXPECT_EQ(pool.VisibleDevices({0, 1, 2}), "2,5");
}

TEST(SlotPool, OnCpuNoDeviceIsVisible) { EXPECT_EQ(SlotPool(2, {}).VisibleDevices({0, 1}), ""); }

}  // namespace
}  // namespace regroup
