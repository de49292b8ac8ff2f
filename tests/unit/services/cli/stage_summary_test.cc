#include "services/cli/stage_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "job_builder.h"

namespace regroup {
namespace {

constexpr double kSummaryTime = 1000;

std::vector<std::string> Names(const v1::Job& job) {
  std::vector<std::string> names;
  for (const StageSummary& stage : SummariseStages(job, kSummaryTime)) names.push_back(stage.name);
  return names;
}

TEST(StageSummary, OrdersStagesAsTheyRunWhateverTheOrderOfTheTasks) {
  EXPECT_THAT(Names(HalfAlignedJob()), testing::ElementsAre("inspect", "align", "report"));
}

TEST(StageSummary, GathersTheLayersOfAlignIntoOneStage) {
  const StageSummary align = SummariseStages(HalfAlignedJob(), kSummaryTime)[1];
  EXPECT_EQ(align.state, v1::TASK_STATE_RUNNING);
  EXPECT_EQ(align.done, 1);
  EXPECT_EQ(align.total, 2);
  EXPECT_EQ(align.unit, "layers");
  EXPECT_DOUBLE_EQ(align.elapsed_s, 40);
  EXPECT_DOUBLE_EQ(align.Fraction(), 0.5);
}

TEST(StageSummary, EstimatesTheRestFromThePaceSoFar) {
  EXPECT_DOUBLE_EQ(SummariseStages(HalfAlignedJob(), kSummaryTime)[1].remaining_s.value(), 40);
}

TEST(StageSummary, PrefersTheEstimateOfTheTaskItself) {
  v1::Job job = HalfAlignedJob();
  v1::Task& task = AddTask(job, "finetune", v1::TASK_KIND_FINETUNE, v1::TASK_STATE_RUNNING);
  SetTimes(task, 990);
  task.mutable_progress()->set_done(5);
  task.mutable_progress()->set_total(100);
  task.mutable_progress()->mutable_remaining()->set_seconds(77);
  (*task.mutable_progress()->mutable_metrics())["loss"] = 2.5;
  const StageSummary finetune = SummariseStages(job, kSummaryTime)[2];
  EXPECT_EQ(finetune.name, "finetune");
  EXPECT_DOUBLE_EQ(finetune.remaining_s.value(), 77);
  EXPECT_DOUBLE_EQ(finetune.loss.value(), 2.5);
  EXPECT_FALSE(finetune.tokens_per_second.has_value());
}

TEST(StageSummary, StopsTheClockOfAFinishedStage) {
  EXPECT_DOUBLE_EQ(SummariseStages(HalfAlignedJob(), kSummaryTime)[0].elapsed_s, 2);
}

TEST(StageSummary, OneFailedLayerFailsTheStage) {
  v1::Job job = HalfAlignedJob();
  job.mutable_tasks(3)->set_state(v1::TASK_STATE_FAILED);
  EXPECT_EQ(SummariseStages(job, kSummaryTime)[1].state, v1::TASK_STATE_FAILED);
}

TEST(StageSummary, KeepsTheMeasuredModelsOfAJobApart) {
  v1::Job job;
  job.set_name("jobs/a");
  for (const char* id : {"evaluate-result", "evaluate-source", "evaluate-averaged", "evaluate-aligned"}) {
    AddTask(job, id, v1::TASK_KIND_EVALUATE, v1::TASK_STATE_BLOCKED);
  }
  EXPECT_THAT(Names(job),
              testing::ElementsAre("evaluate source", "evaluate averaged", "evaluate aligned", "evaluate result"));
}

const StageSummary& Layerwise(const std::vector<StageSummary>& stages) {
  return *std::find_if(stages.begin(), stages.end(),
                       [](const StageSummary& stage) { return stage.kind == v1::TASK_KIND_LAYERWISE; });
}

TEST(StageSummary, PutsLayerwiseDistillationBetweenTheModelsThatItsGainIsMeasuredBy) {
  EXPECT_THAT(
      Names(HalfDistilledJob()),
      testing::ElementsAre("inspect", "evaluate source", "evaluate averaged", "align", "evaluate aligned", "record",
                           "layerwise", "evaluate layerwise", "finetune", "export", "evaluate result", "report"));
}

TEST(StageSummary, WithoutLayerwiseDistillationTheAlignedModelIsTheRefinedOne) {
  v1::Job job;
  job.set_name("jobs/a");
  for (const auto& [id, kind] : {std::pair{"evaluate-aligned", v1::TASK_KIND_EVALUATE},
                                 {"refine", v1::TASK_KIND_REFINE},
                                 {"align-000", v1::TASK_KIND_ALIGN}}) {
    AddTask(job, id, kind, v1::TASK_STATE_BLOCKED);
  }
  EXPECT_THAT(Names(job), testing::ElementsAre("align", "refine", "evaluate aligned"));
}

TEST(StageSummary, CountsTheLayersThatBlocksHaveFinished) {
  const std::vector<StageSummary> stages = SummariseStages(HalfDistilledJob(), kSummaryTime);
  const StageSummary& layerwise = Layerwise(stages);
  EXPECT_EQ(layerwise.state, v1::TASK_STATE_RUNNING);
  EXPECT_EQ(layerwise.unit, "layers");
  // Four layers of the first block, and one and a half of the second.
  EXPECT_EQ(layerwise.done, 5);
  EXPECT_EQ(layerwise.total, 11);
  EXPECT_DOUBLE_EQ(layerwise.Fraction(), 0.5);
  EXPECT_DOUBLE_EQ(layerwise.remaining_s.value(), 60);
}

TEST(StageSummary, ShowsTheMeanLossAndTheSpeedOfTheBlocksThatRun) {
  v1::Job job = HalfDistilledJob();
  v1::Task& next = *job.mutable_tasks(6);
  next.set_state(v1::TASK_STATE_RUNNING);
  (*next.mutable_progress()->mutable_metrics())["layer_loss"] = 0.75;
  (*next.mutable_progress()->mutable_metrics())["tokens_per_second"] = 288;
  (*job.mutable_tasks(4)->mutable_progress()->mutable_metrics())["layer_loss"] = 100;
  const std::vector<StageSummary> stages = SummariseStages(job, kSummaryTime);
  EXPECT_DOUBLE_EQ(Layerwise(stages).loss.value(), 0.5);
  EXPECT_DOUBLE_EQ(Layerwise(stages).tokens_per_second.value(), 5000);
}

TEST(StageSummary, ASingleBlockShowsItsSteps) {
  v1::Job job = HalfDistilledJob();
  job.mutable_tasks()->DeleteSubrange(6, 1);
  job.mutable_tasks()->DeleteSubrange(4, 1);
  const std::vector<StageSummary> stages = SummariseStages(job, kSummaryTime);
  EXPECT_EQ(Layerwise(stages).unit, "step");
  EXPECT_EQ(Layerwise(stages).done, 720);
  EXPECT_DOUBLE_EQ(Layerwise(stages).loss.value(), 0.25);
}

TEST(StageSummary, GathersTheArmsOfASweep) {
  v1::Job job;
  job.set_name("jobs/a");
  for (const char* id : {"evaluate-k2-procrustes-l0", "evaluate-k4-procrustes-l0"}) {
    AddTask(job, id, v1::TASK_KIND_EVALUATE, v1::TASK_STATE_READY);
  }
  AddTask(job, "evaluate-source", v1::TASK_KIND_EVALUATE, v1::TASK_STATE_READY);
  EXPECT_THAT(Names(job), testing::ElementsAre("evaluate source", "evaluate"));
}

TEST(StageSummary, AJobThatHasNotStartedCountsFromItsCreation) {
  v1::Job job;
  job.mutable_create_time()->set_seconds(990);
  EXPECT_DOUBLE_EQ(JobSeconds(job, kSummaryTime), 10);
  EXPECT_DOUBLE_EQ(JobSeconds(HalfAlignedJob(), kSummaryTime), 100);
}

}  // namespace
}  // namespace regroup
