#include "services/common/base/resource_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(ResourceNames, AreMadeAndReadAlike) {
  EXPECT_EQ(IdIn(kJobCollection, JobName("small-1")), "small-1");
  EXPECT_EQ(IdIn(kWorkerCollection, WorkerName("a")), "a");
  const std::optional<TaskNameParts> parts = ParseTaskName(TaskName("small-1", "align-003"));
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->job, "small-1");
  EXPECT_EQ(parts->task, "align-003");
}

TEST(ResourceNames, OfAnotherFormHaveNoId) {
  for (const char* name : {"", "jobs", "jobs/", "jobs/a/b", "job/a", "workers/a", "/jobs/a", "a"}) {
    EXPECT_EQ(IdIn(kJobCollection, name), std::nullopt) << name;
  }
}

TEST(ResourceNames, OfTasksHaveAJobAndATask) {
  for (const char* name : {"", "jobs/a", "jobs/a/tasks/", "jobs//tasks/b", "jobs/a/tasks/b/c", "jobs/a/b/tasks/c",
                           "workers/a/tasks/b", "a/tasks/b"}) {
    EXPECT_FALSE(ParseTaskName(name).has_value()) << name;
  }
}

TEST(ResourceNames, AreCompletedOnce) {
  EXPECT_EQ(FullName(kJobCollection, "x"), "jobs/x");
  EXPECT_EQ(FullName(kJobCollection, "jobs/x"), "jobs/x");
  EXPECT_EQ(FullName(kWorkerCollection, "jobs/x"), "workers/jobs/x");
}

TEST(ResourceNames, HaveALastSegment) {
  EXPECT_EQ(LastSegment("jobs/a/tasks/b"), "b");
  EXPECT_EQ(LastSegment("b"), "b");
  EXPECT_EQ(LastSegment("jobs/"), "");
}

}  // namespace
}  // namespace regroup
