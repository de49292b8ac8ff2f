// Tests which of several attempts a recorded value is taken from.
#include "trainer/stages/recorded_curves.h"

#include <gtest/gtest.h>

#include "services/common/base/attempt_files.h"
#include "services/common/base/files.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

TEST(RecordedCurves, TakesAValueFromTheLatestAttemptUpToAStep) {
  const TemporaryFolder task;
  const auto record = [&](int epoch, const std::string& lines) {
    const std::filesystem::path out = task.path() / std::to_string(epoch) / attempt_files::kResults;
    ASSERT_TRUE(MakeFolders(out).ok());
    ASSERT_TRUE(WriteFileAtomically(out / attempt_files::kCurves, lines).ok());
  };
  record(1, "{\"step\": 1, \"a\": 1}\n{\"step\": 4, \"a\": 4}\n{\"step\": 5, \"");
  record(3, "{\"step\": 2, \"a\": 20}\n");
  const auto value = [&](int epoch, int64_t step) {
    return RecordedValue(task.path() / std::to_string(epoch), "a", step);
  };
  EXPECT_EQ(value(3, 0), std::nullopt);
  EXPECT_EQ(value(3, 1), 1.0);
  EXPECT_EQ(value(3, 3), 20.0);
  EXPECT_EQ(value(2, 3), 1.0) << "the third attempt is not yet there";
  EXPECT_EQ(value(3, 9), 4.0);
  EXPECT_EQ(RecordedValue(task.path() / "3", "b", 9), std::nullopt);
  EXPECT_EQ(ReadRecordedCurves(task.path() / "3").size(), 2u);
}

}  // namespace
}  // namespace regroup
