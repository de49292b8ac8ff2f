// Run alone, and by mpirun with two and three ranks.
#include "trainer/parallel/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(DeviceTest, RanksDoNotShareAGpu) {
  EXPECT_EQ(GpuOfRank(0, 1).value(), 0);
  EXPECT_EQ(GpuOfRank(6, 7).value(), 6);
  const auto none = GpuOfRank(7, 7);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(std::string(none.status().message()),
              HasSubstr("rank 7 of this machine has no GPU of its own: CUDA finds 7"));
}

TEST(DeviceTest, RanksOfOneKindAgree) {
  for (const at::DeviceType type : {at::kCPU, at::kCUDA}) EXPECT_TRUE(AgreeOnDevice(World(), at::Device(type)).ok());
}

TEST(DeviceTest, AMixtureIsRefusedOnEveryRankByTheirNumbers) {
  if (World().size() == 1) GTEST_SKIP() << "needs two ranks";
  const bool last = World().rank() == World().size() - 1;
  const auto mixed = AgreeOnDevice(World(), at::Device(last ? at::kCPU : at::kCUDA));
  ASSERT_FALSE(mixed.ok());
  EXPECT_THAT(std::string(mixed.message()),
              AllOf(HasSubstr(World().size() == 2 ? "ranks 0 compute on GPUs" : "ranks 0, 1 compute on GPUs"),
                    HasSubstr(World().size() == 2 ? "ranks 1 on CPUs" : "ranks 2 on CPUs")));
}

}  // namespace
}  // namespace regroup
