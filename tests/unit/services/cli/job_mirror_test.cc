#include "services/cli/job_mirror.h"

#include <gtest/gtest.h>

#include "job_builder.h"

namespace regroup {
namespace {

v1::JobEvent EventOf(const v1::Job& job, int64_t revision) {
  v1::JobEvent event;
  *event.mutable_job() = job;
  event.mutable_job()->set_revision(revision);
  event.set_resume_token(std::to_string(revision));
  return event;
}

v1::JobEvent ChangeOf(const std::string& task, v1::TaskState state, int64_t revision) {
  v1::Job job;
  job.set_name("jobs/llama-gqa2-abc");
  job.set_state(v1::JOB_STATE_RUNNING);
  AddTask(job, task, v1::TASK_KIND_ALIGN, state);
  return EventOf(job, revision);
}

TEST(JobMirror, ReplacesTasksThatChangedAndKeepsTheOthers) {
  JobMirror mirror;
  mirror.Apply(EventOf(HalfAlignedJob(), 1));
  mirror.Apply(ChangeOf("align-001", v1::TASK_STATE_SUCCEEDED, 2));
  ASSERT_EQ(mirror.job().tasks_size(), 4);
  EXPECT_EQ(mirror.job().tasks(3).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(mirror.job().tasks(2).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(mirror.resume_token(), "2");
}

TEST(JobMirror, AddsTasksThatAreNew) {
  JobMirror mirror;
  mirror.Apply(EventOf(HalfAlignedJob(), 1));
  mirror.Apply(ChangeOf("align-002", v1::TASK_STATE_READY, 2));
  EXPECT_EQ(mirror.job().tasks_size(), 5);
}

TEST(JobMirror, IgnoresAnOlderRevision) {
  JobMirror mirror;
  mirror.Apply(EventOf(HalfAlignedJob(), 5));
  mirror.Apply(ChangeOf("align-001", v1::TASK_STATE_FAILED, 4));
  EXPECT_EQ(mirror.job().tasks(3).state(), v1::TASK_STATE_RUNNING);
}

TEST(JobMirror, TakesTheWholeJobAfterAGap) {
  JobMirror mirror;
  mirror.Apply(EventOf(HalfAlignedJob(), 1));
  v1::JobEvent event = ChangeOf("inspect", v1::TASK_STATE_SUCCEEDED, 9);
  event.set_gap(true);
  mirror.Apply(event);
  EXPECT_EQ(mirror.job().tasks_size(), 1);
}

TEST(JobMirror, TakesTheWholeJobWhenANewStreamBegins) {
  JobMirror mirror;
  mirror.Apply(EventOf(HalfAlignedJob(), 7));
  mirror.ExpectWholeJob();
  mirror.Apply(ChangeOf("inspect", v1::TASK_STATE_SUCCEEDED, 7));
  EXPECT_EQ(mirror.job().tasks_size(), 1);
}

}  // namespace
}  // namespace regroup
