#include "services/common/base/gpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class GpusTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(devices_); }
  void TearDown() override { std::filesystem::remove_all(devices_); }

  void Add(std::initializer_list<const char*> files) {
    for (const char* file : files) std::ofstream(devices_ / file) << "";
  }
  std::vector<std::string> Gpus(const char* chosen = nullptr) const { return VisibleGpus(chosen, devices_); }

  const std::filesystem::path devices_ = std::filesystem::path(testing::TempDir()) / "regroup-gpus-test";
};

TEST_F(GpusTest, HasNoneWithoutDeviceFiles) {
  Add({"null", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "nvidia", "nvidia0a"});
  EXPECT_THAT(Gpus(), IsEmpty());
  EXPECT_THAT(Gpus("0"), IsEmpty());
  EXPECT_THAT(VisibleGpus(nullptr, devices_ / "absent"), IsEmpty());
}

TEST_F(GpusTest, CountsFilesWhateverTheirNumbers) {
  Add({"nvidia3", "nvidia7", "nvidia12", "nvidiactl"});
  EXPECT_THAT(Gpus(), ElementsAre("0", "1", "2"));
}

TEST_F(GpusTest, FindsTheGpuOfWindows) {
  Add({"dxg"});
  EXPECT_THAT(Gpus(), ElementsAre("0"));
}

TEST_F(GpusTest, TakesTheChosenOnesUpToAnEntryThatNamesNone) {
  Add({"nvidia0", "nvidia1", "nvidia2", "nvidia3"});
  EXPECT_THAT(Gpus("2,0"), ElementsAre("2", "0"));
  EXPECT_THAT(Gpus("GPU-8932f937,MIG-2"), ElementsAre("GPU-8932f937", "MIG-2"));
  EXPECT_THAT(Gpus("1, 2 ,3"), ElementsAre("1", "2", "3"));
  EXPECT_THAT(Gpus("1,1"), IsEmpty());
  EXPECT_THAT(Gpus("1,-1,2"), ElementsAre("1"));
  EXPECT_THAT(Gpus("1,4,2"), ElementsAre("1"));
  EXPECT_THAT(Gpus("99999999999999999999"), IsEmpty());
  EXPECT_THAT(Gpus(""), IsEmpty());
  EXPECT_THAT(Gpus("NoDevFiles"), IsEmpty());
}

}  // namespace
}  // namespace regroup
