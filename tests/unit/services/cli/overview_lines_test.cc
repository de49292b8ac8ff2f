#include "services/cli/overview_lines.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/text_table.h"

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

OverviewJob Job(const std::string& id, v1::JobState state) {
  OverviewJob job;
  job.job.set_name("jobs/" + id);
  job.job.set_state(state);
  return job;
}

OverviewJob TrainingJob(const std::string& id) {
  OverviewJob job = Job(id, v1::JOB_STATE_RUNNING);
  v1::Task& task = *job.job.add_tasks();
  task.set_name("jobs/" + id + "/tasks/finetune");
  task.set_kind(v1::TASK_KIND_FINETUNE);
  task.set_state(v1::TASK_STATE_RUNNING);
  task.mutable_progress()->set_done(30);
  task.mutable_progress()->set_total(120);
  task.mutable_progress()->mutable_remaining()->set_seconds(185);
  (*task.mutable_progress()->mutable_metrics())["loss"] = 2.31;
  (*task.mutable_progress()->mutable_metrics())["tokens_per_second"] = 1234;
  for (int step = 1; step <= 3; ++step) {
    v1::MetricPoint point;
    point.set_task("finetune");
    point.set_metric("loss");
    point.set_step(step);
    point.set_value(10 - step);
    job.curves.Add(point);
  }
  return job;
}

v1::Worker Worker(const std::string& id) {
  v1::Worker worker;
  worker.set_name("workers/" + id);
  worker.set_state(v1::WORKER_STATE_READY);
  worker.set_slots(4);
  worker.set_busy_slots(1);
  worker.set_device("cpu");
  return worker;
}

Terminal Screen(int columns, int rows) {
  Terminal terminal;
  terminal.unicode = true;
  terminal.columns = columns;
  terminal.rows = rows;
  return terminal;
}

std::string LineWith(const std::vector<std::string>& lines, const std::string& text) {
  for (const std::string& line : lines) {
    if (line.find(text) != std::string::npos) return line;
  }
  return "";
}

TEST(OverviewLinesTest, AJobThatTrainsHasItsStageProgressEtaLossCurveAndSpeed) {
  ClusterOverview overview;
  overview.jobs = {TrainingJob("llama-x1")};
  const std::string line = LineWith(OverviewLines(overview, 0, Screen(80, 24)), "llama-x1");
  for (const char* cell : {"running", "finetune", "25 %", "3:05", "2.310", "█▅▁", "1.2k"})
    EXPECT_THAT(line, HasSubstr(cell));
}

TEST(OverviewLinesTest, WithoutUnicodeTheyAreAscii) {
  ClusterOverview overview;
  overview.jobs = {TrainingJob(std::string(60, 'a'))};
  Terminal terminal = Screen(80, 24);
  terminal.unicode = false;
  for (const std::string& line : OverviewLines(overview, 0, terminal)) {
    for (const char c : line) EXPECT_GE(c, 0) << line;
  }
}

TEST(OverviewLinesTest, AnyNumberOfJobsAndAnyNameFitTheScreen) {
  for (const int jobs : {0, 1, 40, 200}) {
    ClusterOverview overview;
    for (int i = 0; i < jobs; ++i) overview.jobs.push_back(TrainingJob(fmt::format("{}-{}", std::string(50, 'n'), i)));
    for (int i = 0; i < jobs / 4; ++i)
      overview.workers.push_back(Worker(fmt::format("{}-{}", std::string(60, 'w'), i)));
    for (const auto& [columns, rows] : {std::pair(80, 24), std::pair(200, 50), std::pair(40, 8), std::pair(20, 3)}) {
      const std::vector<std::string> lines = OverviewLines(overview, 0, Screen(columns, rows));
      EXPECT_LE(lines.size(), static_cast<size_t>(rows));
      for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), static_cast<size_t>(columns)) << line;
    }
  }
}

TEST(OverviewLinesTest, SaysHowManyHadNoRoomAndGivesWorkersAThird) {
  ClusterOverview overview;
  for (int i = 0; i < 40; ++i) overview.jobs.push_back(Job(fmt::format("job-{}", i), v1::JOB_STATE_QUEUED));
  for (int i = 0; i < 12; ++i) overview.workers.push_back(Worker(fmt::format("worker-{}", i)));
  const std::vector<std::string> lines = OverviewLines(overview, 0, Screen(80, 23));
  // 18 rows: 12 for jobs, 6 for workers, each with one for the rest.
  EXPECT_THAT(lines, SizeIs(23));
  EXPECT_THAT(lines, testing::Contains("  and 29 more jobs"));
  EXPECT_THAT(lines, testing::Contains("  and 7 more workers"));
}

TEST(OverviewLinesTest, SaysWhyAJobWaitsAndWhyOneFailed) {
  ClusterOverview overview;
  overview.jobs = {Job("a", v1::JOB_STATE_QUEUED), Job("b", v1::JOB_STATE_FAILED)};
  overview.jobs[0].job.set_waiting_reason("gang needs 4 slots; 2 are free");
  overview.jobs[1].job.mutable_failure()->set_message("train.jsonl is missing");
  const std::vector<std::string> lines = OverviewLines(overview, 0, Screen(80, 24));
  EXPECT_THAT(LineWith(lines, "queued"), HasSubstr("gang needs 4 slots"));
  EXPECT_THAT(LineWith(lines, "failed"), HasSubstr("train.jsonl is missing"));
}

TEST(OverviewLinesTest, ALongNameKeepsItsStartAndItsEnd) {
  EXPECT_EQ(WithoutMiddle("abcdefghij", 7, true), "abc…hij");
  EXPECT_EQ(WithoutMiddle("abcdefghij", 6, false), "abc~ij");
  EXPECT_EQ(WithoutMiddle("äöüäöü", 5, true), "äö…öü");
  EXPECT_EQ(WithoutMiddle("abc", 3, true), "abc");
}

TEST(OverviewLinesTest, JobsThatRunComeFirstThenThoseThatWaitThenTheNewestOfThoseThatEnded) {
  std::vector<v1::Job> jobs;
  const auto add = [&](const char* id, v1::JobState state, int64_t created) {
    jobs.push_back(Job(id, state).job);
    jobs.back().mutable_create_time()->set_seconds(created);
  };
  add("ended-first", v1::JOB_STATE_SUCCEEDED, 1);
  add("ended-last", v1::JOB_STATE_FAILED, 4);
  add("waits", v1::JOB_STATE_QUEUED, 3);
  add("runs", v1::JOB_STATE_RECOVERING, 2);
  SortForOverview(jobs);
  std::vector<std::string> names;
  for (const v1::Job& job : jobs) names.push_back(job.name());
  EXPECT_THAT(names, ElementsAre("jobs/runs", "jobs/waits", "jobs/ended-last", "jobs/ended-first"));
}

v1::MetricPoint Point(const std::string& task, double value) {
  v1::MetricPoint point;
  point.set_task(task);
  point.set_metric("loss");
  point.set_value(value);
  return point;
}

TEST(JobCurvesTest, KeepTheLastPointsOfACurve) {
  JobCurves curves;
  for (int i = 0; i < 1000; ++i) curves.Add(Point("finetune", i));
  EXPECT_THAT(curves.Values("finetune", "loss"), SizeIs(240));
  EXPECT_EQ(curves.Values("finetune", "loss").back(), 999);
  EXPECT_THAT(curves.Values("finetune", "tokens_per_second"), IsEmpty());
}

TEST(JobCurvesTest, DropTheOldestOfManyCurves) {
  JobCurves curves;
  for (int i = 0; i < 1000; ++i) curves.Add(Point(fmt::format("finetune-{}", i), i));
  EXPECT_THAT(curves.Values("finetune-999", "loss"), ElementsAre(999));
  EXPECT_THAT(curves.Values("finetune-0", "loss"), IsEmpty());
}

}  // namespace
}  // namespace regroup
