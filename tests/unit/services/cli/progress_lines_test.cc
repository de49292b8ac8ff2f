#include "services/cli/progress_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "job_builder.h"
#include "services/cli/text_table.h"

namespace regroup {
namespace {

constexpr double kNow = 1000;

v1::Job BusyJob() {
  v1::Job job = HalfAlignedJob();
  v1::Task& task = AddTask(job, "evaluate-averaged", v1::TASK_KIND_EVALUATE, v1::TASK_STATE_RUNNING);
  SetTimes(task, 100);
  task.set_epoch(3);
  task.mutable_progress()->set_phase("windows");
  task.mutable_progress()->set_done(123'456);
  task.mutable_progress()->set_total(234'567);
  (*task.mutable_progress()->mutable_metrics())["loss"] = 12.3456;
  (*task.mutable_progress()->mutable_metrics())["tokens_per_second"] = 123'456;
  return job;
}

TEST(ProgressLines, ShowOneLineForTheJobAndOneForEachStage) {
  EXPECT_THAT(ProgressLines(HalfAlignedJob(), kNow, Terminal()),
              testing::ElementsAre("llama-gqa2-abc  running  1:40", "  + inspect             2.0 s",
                                   "  * align               ###...  1/2  40 s  eta 40 s", "  . report"));
}

TEST(ProgressLines, UseBlocksWhereTheTerminalHasThem) {
  EXPECT_EQ(ProgressLines(HalfAlignedJob(), kNow, Terminal{.unicode = true})[2],
            "  ● align               ███░░░  1/2  40 s  eta 40 s");
}

TEST(ProgressLines, ShowEveryFigureOfATrainingStepAtEightyColumns) {
  v1::Job job = HalfAlignedJob();
  v1::Task& task = AddTask(job, "finetune", v1::TASK_KIND_FINETUNE, v1::TASK_STATE_RUNNING);
  SetTimes(task, 940);
  task.mutable_progress()->set_done(120);
  task.mutable_progress()->set_total(240);
  (*task.mutable_progress()->mutable_metrics())["loss"] = 0.4884;
  (*task.mutable_progress()->mutable_metrics())["tokens_per_second"] = 4712;
  EXPECT_EQ(ProgressLines(job, kNow, Terminal())[3],
            "  * finetune            ###...  120/240  1:00  eta 1:00  4.7k tok/s  loss 0.488");
}

TEST(ProgressLines, ShowTheLayersAndTheLossOfLayerwiseDistillationAtEightyColumns) {
  v1::Job job = HalfDistilledJob();
  const std::vector<std::string> lines = ProgressLines(job, kNow, Terminal());
  EXPECT_THAT(lines, testing::Contains("  * layerwise           ###...  5/11  1:00  eta 1:00  4.7k tok/s  loss 0.250"));
  for (int task = 4; task <= 6; ++task) job.mutable_tasks(task)->set_state(v1::TASK_STATE_SUCCEEDED);
  for (int task = 4; task <= 6; ++task) SetTimes(*job.mutable_tasks(task), 940, 980);
  EXPECT_THAT(ProgressLines(job, kNow, Terminal()), testing::Contains("  + layerwise           40 s  11 layers"));
}

TEST(ProgressLines, AreNeverWiderThanTheTerminal) {
  for (const int columns : {60, 72, 80, 100, 200}) {
    for (const std::string& line : ProgressLines(BusyJob(), kNow, Terminal{.columns = columns})) {
      EXPECT_LT(DisplayWidth(line), static_cast<size_t>(columns)) << line;
    }
  }
}

TEST(ProgressLines, LeaveOutTheLeastImportantFirst) {
  const std::string wide = ProgressLines(BusyJob(), kNow, Terminal{.columns = 120})[2];
  EXPECT_THAT(wide, testing::HasSubstr("tok/s"));
  const std::string narrow = ProgressLines(BusyJob(), kNow, Terminal{.columns = 60})[2];
  EXPECT_THAT(narrow, testing::HasSubstr("123456/234567"));
  EXPECT_THAT(narrow, testing::Not(testing::HasSubstr("tok/s")));
}

TEST(ProgressLines, FitALowTerminalByDroppingFinishedStagesFirst) {
  EXPECT_THAT(
      ProgressLines(HalfAlignedJob(), kNow, Terminal{.rows = 4}),
      testing::ElementsAre(testing::HasSubstr("llama"), testing::HasSubstr("align"), testing::HasSubstr("report")));
}

TEST(ProgressLines, HoldNoEscapeCodesWithoutColours) {
  for (const std::string& line : ProgressLines(BusyJob(), kNow, Terminal())) {
    EXPECT_THAT(line, testing::Not(testing::HasSubstr("\x1b")));
  }
}

TEST(ProgressLines, SayWhyAJobWaits) {
  v1::Job job = HalfAlignedJob();
  job.set_waiting_reason("gang needs 4 slots; 2 are free");
  EXPECT_THAT(ProgressLines(job, kNow, Terminal())[0], testing::HasSubstr("gang needs 4 slots; 2 are free"));
}

TEST(PlainStageLine, GivesAllThatIsKnown) {
  v1::Job job = BusyJob();
  for (v1::Task& task : *job.mutable_tasks()) task.set_epoch(1);
  EXPECT_EQ(PlainStageLine(SummariseStages(job, kNow)[1]),
            "evaluate averaged 52 %: windows 123456/234567, 15:00, eta 13:30, 123k tokens/s, loss 12.35");
}

TEST(PlainStageLine, TakesTheRestOfALaterAttemptFromTheTaskAlone) {
  v1::Job job = BusyJob();
  EXPECT_THAT(PlainStageLine(SummariseStages(job, kNow)[1]), testing::Not(testing::HasSubstr("eta")));
  for (v1::Task& task : *job.mutable_tasks()) task.mutable_progress()->mutable_remaining()->set_seconds(75);
  EXPECT_THAT(PlainStageLine(SummariseStages(job, kNow)[1]), testing::HasSubstr("eta 1:15"));
}

}  // namespace
}  // namespace regroup
