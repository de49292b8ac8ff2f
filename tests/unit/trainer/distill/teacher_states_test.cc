#include "trainer/distill/teacher_states.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

class TeacherStatesTest : public testing::Test {
 protected:
  TeacherStates Open(const std::string& fingerprint = "a", at::ScalarType dtype = at::kFloat) {
    return *TeacherStates::Open(folder_.path(),
                                {.positions = 5, .hidden_size = 3, .dtype = dtype, .fingerprint = fingerprint});
  }
  /// Gets a window, computing it as a teacher would, and counts how often it is computed.
  at::Tensor Get(TeacherStates& states, int64_t window, at::ScalarType dtype = at::kFloat) {
    return *states.Get(window, [&] {
      ++computed_;
      return Expected(window, dtype);
    });
  }
  static at::Tensor Expected(int64_t window, at::ScalarType dtype = at::kFloat) {
    at::manual_seed(static_cast<uint64_t>(window));
    return at::randn({5, 3}).to(dtype);
  }
  std::filesystem::path OnlyFile() const { return std::filesystem::directory_iterator(folder_.path())->path(); }

  TemporaryFolder folder_;
  int computed_ = 0;
};

TEST_F(TeacherStatesTest, ComputesAWindowOnceAndReadsItsBitsAfterwards) {
  TeacherStates states = Open();
  for (const int64_t window : {7, 0, 7, 0, 7}) EXPECT_TRUE(at::equal(Get(states, window), Expected(window)));
  EXPECT_EQ(computed_, 2);
  EXPECT_EQ(states.hits(), 3);
}

TEST_F(TeacherStatesTest, IsSharedByProcessesAndAttempts) {
  TeacherStates one = Open(), other = Open();
  Get(one, 2);
  EXPECT_TRUE(at::equal(Get(other, 2), Expected(2)));
  EXPECT_EQ(computed_, 1);
}

TEST_F(TeacherStatesTest, KeepsOtherSettingsApart) {
  TeacherStates one = Open("a"), other = Open("b"), half = Open("a", at::kBFloat16);
  Get(one, 0);
  Get(other, 0);
  EXPECT_TRUE(at::equal(Get(half, 0, at::kBFloat16), Expected(0, at::kBFloat16)));
  EXPECT_EQ(computed_, 3);
}

TEST_F(TeacherStatesTest, ComputesDamagedAndHalfWrittenWindowsAgain) {
  TeacherStates states = Open();
  Get(states, 0);
  Get(states, 1);
  std::fstream file(OnlyFile(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(states.RecordBytes() - 1);
  file.put('?');
  file.close();
  EXPECT_TRUE(at::equal(Get(states, 0), Expected(0)));
  EXPECT_EQ(computed_, 3);
  std::filesystem::resize_file(OnlyFile(), 2 * states.RecordBytes() - 4);
  EXPECT_TRUE(at::equal(Get(states, 1), Expected(1)));
  EXPECT_EQ(computed_, 4);
  EXPECT_EQ(states.hits(), 0);
}

TEST_F(TeacherStatesTest, NamesAFolderThatCannotBeWritten) {
  const auto states = TeacherStates::Open("/proc/none", {.positions = 1, .hidden_size = 1});
  ASSERT_FALSE(states.ok());
  EXPECT_NE(states.status().message().find("/proc/none"), std::string_view::npos) << states.status();
}

}  // namespace
}  // namespace regroup
