#include "trainer/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/job_file/resolve_job_spec.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"

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

TEST_F(PlanJobTest, AnArmThatKeepsTheSourcesHeadsIsPlannedWithoutTraining) {
  spec_.mutable_finetune()->set_method("direct");
  spec_.mutable_sweep()->add_kv_heads(4);
  spec_.mutable_sweep()->add_kv_heads(2);
  const v1::JobPlan plan = Plan();
  EXPECT_EQ(plan.model().kv_heads(), 4);
  EXPECT_EQ(plan.tokens().training(), 10 * 4 * 16);
}

}  // namespace
}  // namespace regroup
