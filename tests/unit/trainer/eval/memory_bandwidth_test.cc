#include "trainer/eval/memory_bandwidth.h"

#include <gtest/gtest.h>

#include "trainer/parallel/device_name.h"

namespace regroup {
namespace {

TEST(ReadBandwidthTest, IsAnAmountThatAMachineCanHave) {
  const double bandwidth = MeasureReadBandwidth(64 << 20, 3, at::kCPU);
  EXPECT_GT(bandwidth, 1e7);
  EXPECT_LT(bandwidth, 1e14);
}

TEST(DeviceNameTest, IsNeverEmpty) { EXPECT_FALSE(DeviceName(at::kCPU).empty()); }

}  // namespace
}  // namespace regroup
