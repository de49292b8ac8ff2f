#include "trainer/parallel/peak_flops.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace regroup {
namespace {

TEST(PeakFlopsTest, KnowsDevicesByThePartsOfTheirNames) {
  EXPECT_EQ(PeakFlopsPerSecond("NVIDIA H200", at::kBFloat16), 989e12);
  EXPECT_EQ(PeakFlopsPerSecond("NVIDIA H100 PCIe", at::kBFloat16), 756e12);
  EXPECT_EQ(PeakFlopsPerSecond("NVIDIA H100 80GB HBM3", at::kBFloat16), 989e12);
  EXPECT_EQ(PeakFlopsPerSecond("NVIDIA A100-SXM4-80GB", at::kBFloat16), 312e12);
}

TEST(PeakFlopsTest, DoesNotGuess) {
  EXPECT_FALSE(PeakFlopsPerSecond("AMD EPYC", at::kBFloat16).has_value());
  EXPECT_FALSE(PeakFlopsPerSecond("NVIDIA H200", at::kFloat).has_value());
}

TEST(PeakFlopsTest, TakesWhatIsStated) {
  setenv("REGROUP_PEAK_FLOPS", "2.5e11", 1);
  EXPECT_EQ(PeakFlopsPerSecond("AMD EPYC", at::kFloat), 2.5e11);
  setenv("REGROUP_PEAK_FLOPS", "much", 1);
  EXPECT_FALSE(PeakFlopsPerSecond("AMD EPYC", at::kFloat).has_value());
  unsetenv("REGROUP_PEAK_FLOPS");
}

}  // namespace
}  // namespace regroup
