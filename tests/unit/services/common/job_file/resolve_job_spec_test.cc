#include "services/common/job_file/resolve_job_spec.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "job_builder.h"

namespace regroup {
namespace {

TEST(ResolveJobSpec, FillsTheDocumentedDefaults) {
  const v1::JobSpec spec = ResolveJobSpec(GoodJob());
  EXPECT_EQ(spec.recipe(), "paper");
  EXPECT_EQ(spec.calibration().sequences(), 128);
  EXPECT_EQ(spec.calibration().ranks(), 1);
  EXPECT_EQ(spec.alignment().method(), "procrustes");
  EXPECT_EQ(spec.alignment().compare(), "value");
  EXPECT_EQ(spec.alignment().similarity(), "cosine");
  EXPECT_EQ(spec.alignment().seed(), 0);
  EXPECT_TRUE(spec.alignment().has_restore_norm());
  EXPECT_FALSE(spec.alignment().restore_norm());
  EXPECT_TRUE(spec.refine().has_outputs());
  EXPECT_FALSE(spec.refine().outputs());
  EXPECT_EQ(spec.finetune().method(), "l0");
  EXPECT_EQ(spec.finetune().data(), "/data/train.jsonl");
  EXPECT_EQ(spec.finetune().batch_sequences(), 64);
  EXPECT_EQ(spec.finetune().micro_batch_sequences(), 1);
  EXPECT_DOUBLE_EQ(spec.finetune().learning_rate(), 1e-5);
  EXPECT_EQ(spec.finetune().ranks(), 1);
  EXPECT_EQ(spec.finetune().precision(), "auto");
  EXPECT_EQ(spec.finetune().checkpoint_every_steps(), 200);
  EXPECT_EQ(spec.finetune().train(), "all");
  EXPECT_EQ(spec.finetune().recompute(), "none");
  EXPECT_EQ(spec.finetune().teacher(), "compute");
  EXPECT_TRUE(spec.finetune().across_documents());
  EXPECT_EQ(spec.finetune().loss(), "kl");
  EXPECT_EQ(spec.finetune().lora_rank(), 16);
  EXPECT_DOUBLE_EQ(spec.finetune().lora_alpha(), 32);
  EXPECT_FALSE(spec.alignment().match_energy());
  EXPECT_EQ(spec.resources().device(), "auto");
  EXPECT_EQ(spec.resources().max_runtime_s(), 86400);
  EXPECT_EQ(spec.evaluation().perplexity().max_windows(), 0);
  EXPECT_TRUE(spec.evaluation().perplexity().has_max_windows());
}

TEST(ResolveJobSpec, RecipeBestMeansPrincipalAndDirect) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  const v1::JobSpec spec = ResolveJobSpec(written);
  EXPECT_EQ(spec.alignment().method(), "principal");
  EXPECT_TRUE(spec.alignment().restore_norm());
  EXPECT_FALSE(spec.refine().outputs());
  EXPECT_EQ(spec.finetune().method(), "direct");
}

TEST(ResolveJobSpec, RecipeBestRefinesWhereNothingIsTrained) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  written.mutable_finetune()->set_method("none");
  EXPECT_TRUE(ResolveJobSpec(written).refine().outputs());
  written.set_recipe("paper");
  EXPECT_FALSE(ResolveJobSpec(written).refine().outputs());
}

TEST(ResolveJobSpec, InstructionsDoNotSeeEachOtherUnlessAskedTo) {
  v1::JobSpec written = GoodJob();
  written.mutable_finetune()->set_loss("bild");
  EXPECT_FALSE(ResolveJobSpec(written).finetune().across_documents());
  written.mutable_finetune()->set_across_documents(true);
  EXPECT_TRUE(ResolveJobSpec(written).finetune().across_documents());
}

TEST(ResolveJobSpec, WrittenKeysWinOverTheRecipe) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  written.mutable_alignment()->set_method("none");
  written.mutable_refine()->set_outputs(false);
  written.mutable_finetune()->set_method("none");
  const v1::JobSpec spec = ResolveJobSpec(written);
  EXPECT_EQ(spec.alignment().method(), "none");
  EXPECT_FALSE(spec.refine().outputs());
  EXPECT_EQ(spec.finetune().method(), "none");
}

TEST(ResolveJobSpec, LeavesSequenceLengthsToTheModel) {
  const v1::JobSpec spec = ResolveJobSpec(GoodJob());
  EXPECT_FALSE(spec.calibration().has_sequence_length());
  EXPECT_FALSE(spec.finetune().has_sequence_length());
  EXPECT_FALSE(spec.evaluation().perplexity().has_sequence_length());
}

TEST(ResolveJobSpec, LeavesRestoreNormToEachArmOfASweepOverMethods) {
  v1::JobSpec written = GoodJob();
  written.mutable_sweep()->add_alignment("none");
  written.mutable_sweep()->add_alignment("principal");
  EXPECT_FALSE(ResolveJobSpec(written).alignment().has_restore_norm());
}

TEST(ResolveJobSpec, TheBestRecipeRefinesWhereNoArmOfASweepTrains) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  written.mutable_finetune()->set_method("none");
  written.mutable_sweep()->add_finetune("none");
  EXPECT_TRUE(ResolveJobSpec(written).refine().outputs());
  written.mutable_sweep()->add_finetune("direct");
  EXPECT_FALSE(ResolveJobSpec(written).refine().outputs());
}

TEST(ResolveJobSpec, AddsNoMeasurementThatWasNotAskedFor) {
  v1::JobSpec written = GoodJob();
  written.clear_evaluation();
  EXPECT_FALSE(ResolveJobSpec(written).has_evaluation());
}

TEST(ResolveJobSpec, ResolvingTwiceChangesNothing) {
  for (const char* recipe : {"", "paper", "best"}) {
    v1::JobSpec written = GoodJob();
    written.set_recipe(recipe);
    const v1::JobSpec once = ResolveJobSpec(written);
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(once, ResolveJobSpec(once)));
  }
}

}  // namespace
}  // namespace regroup
