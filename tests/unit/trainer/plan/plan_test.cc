#include "trainer/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/job_file/resolve_job_spec.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/plan/plan_estimate.h"
#include "trainer/plan/training_memory.h"

namespace regroup {
namespace {

class PlanJobTest : public testing::Test {
 protected:
  PlanJobTest() {
    TinyLlama{}.Write(folder_.path());
    spec_.mutable_source()->set_checkpoint(folder_.path().string());
    spec_.mutable_target()->set_kv_heads(2);
    spec_.mutable_calibration()->set_data("/nowhere/text.jsonl");
    spec_.mutable_finetune()->set_method("none");
    spec_.mutable_finetune()->set_steps(10);
    spec_.mutable_finetune()->set_batch_sequences(4);
    spec_.mutable_finetune()->set_sequence_length(16);
    spec_.mutable_finetune()->set_ranks(2);
  }

  v1::JobPlan Plan() const {
    const SourceModel source = SourceModel::Open(folder_.path()).value();
    const auto plan = PlanJob(ResolveJobSpec(spec_), source, {.flops_per_second = 1e12});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.value_or(v1::JobPlan());
  }

  TemporaryFolder folder_;
  v1::JobSpec spec_;
};

TEST_F(PlanJobTest, AConversionThatTrainsNothingHasNoTrainingMemory) {
  const v1::JobPlan plan = Plan();
  EXPECT_FALSE(plan.memory_bytes().has_finetune());
  EXPECT_EQ(plan.tokens().training(), 0);
  EXPECT_EQ(plan.ranks(), 1);
}

TEST_F(PlanJobTest, ASweepThatTrainsInOneArmIsPlannedWithItsTraining) {
  const v1::JobPlan untrained = Plan();
  spec_.mutable_sweep()->add_finetune("none");
  spec_.mutable_sweep()->add_finetune("direct");
  const v1::JobPlan plan = Plan();
  EXPECT_TRUE(plan.memory_bytes().has_finetune());
  EXPECT_EQ(plan.tokens().training(), 10 * 4 * 16);
  EXPECT_EQ(plan.ranks(), 2);
  EXPECT_GT(plan.flops(), untrained.flops());
}

TEST_F(PlanJobTest, MeasurementsDuringTrainingCostAForwardPassEach) {
  const std::string text = folder_.Write("valid.jsonl", R"({"text": ")" + std::string(10'000, 'a') + "\"}\n");
  spec_.mutable_finetune()->set_method("direct");
  spec_.mutable_evaluation()->mutable_perplexity()->set_data(text);
  spec_.mutable_evaluation()->mutable_perplexity()->set_sequence_length(32);
  const v1::JobPlan without = Plan();
  spec_.mutable_finetune()->set_evaluate_windows(3);
  spec_.mutable_finetune()->set_evaluate_every_steps(4);
  // After steps 4, 8 and 10.
  const v1::JobPlan some = Plan();
  spec_.mutable_finetune()->set_evaluate_every_steps(1);
  const v1::JobPlan all = Plan();
  const double once = 3 * 32 * ForwardFlops(SourceModel::Open(folder_.path())->config(), 2, 32);
  EXPECT_NEAR(some.flops() - without.flops(), 3 * once, 1e-6 * once);
  EXPECT_NEAR(all.flops() - without.flops(), 10 * once, 1e-6 * once);
  EXPECT_EQ(all.tokens().evaluation(), without.tokens().evaluation());
}

TEST_F(PlanJobTest, KnowsHowManyTokensAMeasurementReadsTogether) {
  const ModelConfig config = SourceModel::Open(folder_.path())->config();
  v1::JobSpec spec = ResolveJobSpec(spec_);
  spec.mutable_evaluation()->mutable_perplexity()->set_sequence_length(32);
  EXPECT_EQ(PlanTraining(spec, config, 2, false, at::kCPU).measured_tokens, 0);
  spec.mutable_finetune()->set_evaluate_every_steps(4);
  EXPECT_EQ(PlanTraining(spec, config, 2, false, at::kCPU).measured_tokens, 2048);
  spec.mutable_evaluation()->mutable_perplexity()->set_sequence_length(3000);
  EXPECT_EQ(PlanTraining(spec, config, 2, false, at::kCPU).measured_tokens, 3000);
}

TEST_F(PlanJobTest, AnArmThatKeepsTheSourcesHeadsIsPlannedWithoutTraining) {
  spec_.mutable_finetune()->set_method("direct");
  spec_.mutable_sweep()->add_kv_heads(4);
  spec_.mutable_sweep()->add_kv_heads(2);
  const v1::JobPlan plan = Plan();
  EXPECT_EQ(plan.model().kv_heads(), 4);
  EXPECT_EQ(plan.tokens().training(), 10 * 4 * 16);
}

TEST_F(PlanJobTest, ShardsOnGpusWhatDoesNotFitOtherwise) {
  spec_.mutable_finetune()->set_method("direct");
  spec_.mutable_resources()->set_device("cuda");
  const SourceModel source = SourceModel::Open(folder_.path()).value();
  const auto plan = [&](double gib) {
    return *PlanJob(ResolveJobSpec(spec_), source,
                    {.flops_per_second = 1e12, .device = at::kCUDA, .gpu_memory_bytes = gib * (1 << 30)});
  };
  const auto note = testing::Contains("finetune keeps on each rank only its slice of the gradients (shard: gradients)");
  const auto note_on_all = testing::Contains(testing::HasSubstr("(shard: all)"));
  EXPECT_TRUE(plan(2).gpu_fits());
  EXPECT_THAT(plan(2).notes(), testing::Not(note));
  EXPECT_FALSE(plan(1).gpu_fits()) << "CUDA alone takes 1.5 GiB";
  EXPECT_THAT(plan(1).notes(), note_on_all);
  EXPECT_THAT(plan(0).notes(), note_on_all);
  spec_.mutable_finetune()->set_teacher("cache");
  EXPECT_THAT(plan(1).notes(), note) << "the ranks would need the teacher in different steps";
  spec_.mutable_finetune()->clear_teacher();
  EXPECT_FALSE(plan(0).has_gpu_fits());
  const v1::JobPlan elsewhere =
      *PlanJob(ResolveJobSpec(spec_), source, {.flops_per_second = 1e12, .device = at::kCUDA, .runs_here = false});
  EXPECT_THAT(elsewhere.notes(), testing::Contains(testing::HasSubstr("where whole ones do not fit")));
  EXPECT_THAT(elsewhere.notes(), testing::Not(note));
  EXPECT_TRUE(plan(2).has_gpu_memory_bytes_of_stages());
  EXPECT_FALSE(Plan().has_gpu_memory_bytes_of_stages()) << "planned for CPUs";
}

TEST_F(PlanJobTest, SaysWhatEachOfSeveralGpusHolds) {
  // Two layers of four heads of eight entries, one of each pair of heads kept.
  spec_.mutable_serving()->set_gpu_memory_gib(1);
  spec_.mutable_serving()->set_cache_dtype("fp8");
  spec_.mutable_serving()->set_context_length(16);
  const v1::JobPlan plan = Plan();
  ASSERT_EQ(plan.serving_size(), 4);
  EXPECT_EQ(plan.serving_context_length(), 16);
  const int32_t width = plan.model().head_width();
  for (const auto& [row, source, result] : {std::tuple(0, 4, 2), std::tuple(1, 2, 1), std::tuple(2, 1, 1)}) {
    const v1::JobPlan::Serving& serving = plan.serving(row);
    EXPECT_EQ(serving.source().kv_heads_per_gpu(), source);
    EXPECT_EQ(serving.result().kv_heads_per_gpu(), result);
    EXPECT_EQ(serving.source().kv_bytes_per_token(), 2 * plan.model().layers() * source * width);
    EXPECT_GT(serving.result().requests(), 0);
  }
  EXPECT_FALSE(plan.serving(3).source().can_be_split()) << "8 GPUs cannot share 4 heads";
  EXPECT_THAT(plan.notes(), testing::Contains(testing::HasSubstr("over 4 GPUs each holds as many KV heads as before")));
}

TEST_F(PlanJobTest, RefusesATensorParallelTargetThatSavesNothing) {
  const SourceModel source = SourceModel::Open(folder_.path()).value();
  for (const auto& [gpus, what] : {std::pair(4, "nothing is saved"), std::pair(8, "cannot share the 4 heads")}) {
    spec_.mutable_target()->set_tensor_parallel(gpus);
    const auto plan = PlanJob(ResolveJobSpec(spec_), source, {.flops_per_second = 1e12});
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(plan.status().message()), testing::HasSubstr(what));
  }
  spec_.mutable_target()->set_tensor_parallel(2);
  EXPECT_EQ(Plan().serving_size(), 4);
}

}  // namespace
}  // namespace regroup
