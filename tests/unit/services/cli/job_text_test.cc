#include "services/cli/job_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "job_builder.h"

namespace regroup {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::Job FinishedJob() {
  v1::Job job = HalfAlignedJob();
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_report_folder("/out/model/regroup");
  v1::JobSpec& spec = *job.mutable_resolved_spec();
  spec.mutable_output()->set_checkpoint("/out/model");
  spec.mutable_alignment()->set_method("procrustes");
  spec.mutable_finetune()->set_method("l0");
  auto& figures = *job.mutable_figures();
  figures["perplexity/source"] = 33.61;
  figures["perplexity/averaged"] = 188.0;
  figures["perplexity/aligned"] = 84.5;
  figures["perplexity/result"] = 41.204;
  figures["kv_bytes_per_token/source"] = 6144;
  figures["kv_bytes_per_token/result"] = 1536;
  return job;
}

TEST(ResultText, ShowsEveryMeasuredModelAndWhereTheResultIs) {
  EXPECT_EQ(ResultText(FinishedJob(), Terminal()),
            "                         perplexity  KV cache per token\n"
            "  source                      33.61             6,144 B\n"
            "  plain averaging               188\n"
            "  aligned                     84.50\n"
            "  aligned + l0 (result)       41.20             1,536 B\n"
            "  The KV cache is 4.0 times smaller.\n"
            "\n"
            "  result  /out/model\n"
            "  report  /out/model/regroup/report.html\n");
}

TEST(ResultText, ShowsWarningsAlsoOfAJobThatFailed) {
  v1::Job job = FinishedJob();
  job.add_warnings("calibration.sequences: few");
  const char* const expected = "  warning: calibration.sequences: few\n";
  EXPECT_THAT(ResultText(job, Terminal()), HasSubstr(expected));
  job.set_state(v1::JOB_STATE_FAILED);
  EXPECT_THAT(FailureText(job, {.command = "again"}, Terminal()), HasSubstr(expected));
}

TEST(ResultText, ShowsTheModelAfterLayerwiseDistillation) {
  v1::Job job = FinishedJob();
  job.mutable_resolved_spec()->mutable_layerwise()->set_method("distill");
  job.mutable_resolved_spec()->mutable_finetune()->set_method("direct");
  (*job.mutable_figures())["perplexity/layerwise"] = 45.5;
  EXPECT_THAT(ResultText(job, Terminal()),
              HasSubstr("  aligned                                     84.50\n"
                        "  aligned + layerwise                         45.50\n"
                        "  aligned + layerwise + direct (result)       41.20             1,536 B\n"));
  job.mutable_resolved_spec()->mutable_refine()->set_outputs(true);
  job.mutable_resolved_spec()->mutable_alignment()->set_method("none");
  const std::string refined = ResultText(job, Terminal());
  EXPECT_THAT(refined, HasSubstr("  averaged    "));
  EXPECT_THAT(refined, HasSubstr("  averaged + layerwise + refined    "));
  EXPECT_THAT(refined, HasSubstr("  averaged + layerwise + refined + direct (result) "));
}

TEST(ResultText, ALayerwiseResultWithoutFineTuningHasOneRow) {
  v1::Job job = FinishedJob();
  job.mutable_resolved_spec()->mutable_layerwise()->set_method("distill");
  job.mutable_resolved_spec()->mutable_finetune()->set_method("none");
  EXPECT_THAT(ResultText(job, Terminal()), HasSubstr("  aligned + layerwise (result)       41.20 "));
}

TEST(ResultText, ShowsTheRowsOfASweepUnderTheirOwnNames) {
  v1::Job job = FinishedJob();
  job.mutable_resolved_spec()->mutable_sweep()->add_kv_heads(2);
  job.mutable_resolved_spec()->clear_output();
  (*job.mutable_figures())["perplexity/k2-procrustes"] = 50.5;
  const std::string text = ResultText(job, Terminal());
  EXPECT_THAT(text, HasSubstr("k2-procrustes"));
  EXPECT_THAT(text, Not(HasSubstr("  result  /")));
}

TEST(ResultText, IsEmptyBeforeAnythingIsKnown) { EXPECT_EQ(ResultText(HalfAlignedJob(), Terminal()), ""); }

v1::Job FailedJob(v1::FailureClass failure_class) {
  v1::Job job = HalfAlignedJob();
  job.set_state(v1::JOB_STATE_FAILED);
  job.mutable_tasks(3)->set_state(v1::TASK_STATE_FAILED);
  job.mutable_failure()->set_failure_class(failure_class);
  job.mutable_failure()->set_message("/m/model.safetensors is shorter than its header says");
  job.mutable_failure()->add_log_tail("last words");
  return job;
}

TEST(FailureText, NamesTaskClassReasonLogAndNextStep) {
  EXPECT_EQ(FailureText(FailedJob(v1::FAILURE_CLASS_DATA), {.command = "regroup retry x"}, Terminal()),
            "jobs/llama-gqa2-abc failed in align-001 (data)\n"
            "  /m/model.safetensors is shorter than its header says\n"
            "\n"
            "  The last lines of its log:\n"
            "    last words\n"
            "\n"
            "  What to do: supply, repair or replace the file, then run: regroup retry x\n");
}

TEST(FailureText, SaysNothingTwice) {
  v1::Job job = FailedJob(v1::FAILURE_CLASS_USER);
  job.mutable_failure()->set_message("task align-001 failed: target.kv_heads is wrong");
  job.mutable_failure()->set_log_tail(0, "rank 0: target.kv_heads is wrong");
  EXPECT_EQ(FailureText(job, {.command = "AGAIN", .reads_job_file = true}, Terminal()),
            "jobs/llama-gqa2-abc failed in align-001 (invalid request)\n"
            "  target.kv_heads is wrong\n"
            "\n"
            "  What to do: correct the job file, then run: AGAIN\n");
  // A job that was submitted keeps its file.
  EXPECT_THAT(FailureText(job, {.command = "regroup retry x"}, Terminal()),
              HasSubstr("correct the job file and submit it again; or"));
}

TEST(FailureText, HasAnAdviceForEveryClass) {
  for (int number = 0; number < v1::FailureClass_ARRAYSIZE; ++number) {
    const auto failure_class = static_cast<v1::FailureClass>(number);
    EXPECT_THAT(FailureText(FailedJob(failure_class), {.command = "AGAIN"}, Terminal()), HasSubstr("What to do: "))
        << number;
  }
}

TEST(FailureText, AQualityGateDoesNotAdviseToTryTheSameAgain) {
  EXPECT_THAT(FailureText(FailedJob(v1::FAILURE_CLASS_QUALITY_GATE), {.command = "AGAIN"}, Terminal()),
              Not(HasSubstr("AGAIN")));
}

TEST(FailureText, ACancelledJobSaysHowToContinue) {
  v1::Job job = HalfAlignedJob();
  job.set_state(v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(FailureText(job, {.command = "regroup run job.yaml"}, Terminal()),
              HasSubstr("To continue: regroup run job.yaml"));
}

}  // namespace
}  // namespace regroup
