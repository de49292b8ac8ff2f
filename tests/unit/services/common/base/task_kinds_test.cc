#include "services/common/base/task_kinds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/base/enum_words.h"
#include "services/common/base/final_states.h"

namespace regroup {
namespace {

TEST(TaskKinds, AreAllInTheTableUnderTheWordOfTheirName) {
  for (int number = 1; number < v1::TaskKind_ARRAYSIZE; ++number) {
    const auto kind = static_cast<v1::TaskKind>(number);
    ASSERT_LT(OrderOf(kind), kTaskKinds.size()) << v1::TaskKind_Name(kind);
    EXPECT_EQ(WordOf(kind), EnumWord(kind));
  }
}

TEST(TaskKinds, OfANewerProgramComeLastAndNeedTheDevice) {
  const auto unknown = static_cast<v1::TaskKind>(1000);
  EXPECT_EQ(OrderOf(unknown), kTaskKinds.size());
  EXPECT_STREQ(WordOf(unknown), "task");
  EXPECT_TRUE(NeedsDevice(unknown));
}

TEST(TaskKinds, ThatOnlyMoveFilesNeedNoDevice) {
  EXPECT_FALSE(NeedsDevice(v1::TASK_KIND_INSPECT));
  EXPECT_FALSE(NeedsDevice(v1::TASK_KIND_EXPORT));
  EXPECT_FALSE(NeedsDevice(v1::TASK_KIND_REPORT));
  EXPECT_TRUE(NeedsDevice(v1::TASK_KIND_ALIGN));
}

TEST(EnumWords, AreTheNamesWithoutTheirType) {
  EXPECT_EQ(EnumWord(v1::JOB_STATE_QUEUED), "queued");
  EXPECT_EQ(EnumWord(v1::FAILURE_CLASS_QUALITY_GATE), "quality_gate");
  EXPECT_EQ(EnumWord(v1::TASK_STATE_UNSPECIFIED), "unspecified");
  EXPECT_EQ(EnumWord(static_cast<v1::JobState>(1000)), "");
}

TEST(FinalStates, AreSucceededFailedAndCancelled) {
  for (const v1::JobState state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}) {
    EXPECT_TRUE(IsFinalState(state));
  }
  for (const v1::TaskState state : {v1::TASK_STATE_SUCCEEDED, v1::TASK_STATE_FAILED, v1::TASK_STATE_CANCELLED}) {
    EXPECT_TRUE(IsFinalState(state));
  }
  EXPECT_FALSE(IsFinalState(v1::JOB_STATE_CANCELLING));
  EXPECT_FALSE(IsFinalState(v1::TASK_STATE_RUNNING));
}

}  // namespace
}  // namespace regroup
