#include "services/common/job_file/resolve_job_spec.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "job_builder.h"

namespace regroup {
namespace {

TEST(ResolveJobSpec, RemovesTheSlashThatAShellPutsBehindAFolder) {
  for (const char* end : {"", "/", "//", "/.", "/./"}) {
    v1::JobSpec spec = GoodJob();
    spec.mutable_output()->set_checkpoint(std::string("/models/llama-gqa2") + end);
    spec.mutable_source()->set_checkpoint(std::string("/models/llama.v2") + end);
    const v1::JobSpec resolved = ResolveJobSpec(spec);
    EXPECT_EQ(resolved.output().checkpoint(), "/models/llama-gqa2") << end;
    EXPECT_EQ(resolved.source().checkpoint(), "/models/llama.v2") << end;
  }
  v1::JobSpec spec = GoodJob();
  spec.mutable_output()->set_checkpoint("//");
  EXPECT_EQ(ResolveJobSpec(spec).output().checkpoint(), "/");
  spec.clear_output();
  EXPECT_FALSE(ResolveJobSpec(spec).has_output());
}

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
  EXPECT_EQ(spec.layerwise().method(), "none");
  EXPECT_EQ(spec.layerwise().data(), "/data/train.jsonl");
  EXPECT_EQ(spec.layerwise().sequences(), 512);
  EXPECT_EQ(spec.layerwise().passes(), 2);
  EXPECT_EQ(spec.layerwise().batch_sequences(), 2);
  EXPECT_DOUBLE_EQ(spec.layerwise().map_weight(), 1.0);
  EXPECT_TRUE(spec.layerwise().has_seed());
  EXPECT_EQ(spec.layerwise().seed(), 0);
  EXPECT_EQ(spec.layerwise().precision(), "auto");
  EXPECT_EQ(spec.finetune().method(), "l0");
  EXPECT_EQ(spec.finetune().data(), "/data/train.jsonl");
  EXPECT_EQ(spec.finetune().batch_sequences(), 64);
  EXPECT_EQ(spec.finetune().micro_batch_sequences(), 1);
  EXPECT_DOUBLE_EQ(spec.finetune().learning_rate(), 1e-5);
  EXPECT_EQ(spec.finetune().ranks(), 1);
  EXPECT_EQ(spec.finetune().min_ranks(), 1);
  EXPECT_EQ(spec.finetune().precision(), "auto");
  EXPECT_EQ(spec.finetune().checkpoint_every_steps(), 200);
  EXPECT_EQ(spec.finetune().train(), "auto");
  EXPECT_EQ(spec.finetune().recompute(), "none");
  EXPECT_EQ(spec.finetune().teacher(), "compute");
  EXPECT_EQ(spec.finetune().shard(), "auto");
  EXPECT_TRUE(spec.finetune().across_documents());
  EXPECT_EQ(spec.finetune().loss(), "kl");
  EXPECT_TRUE(spec.finetune().has_attention_weight());
  EXPECT_EQ(spec.finetune().attention_weight(), 0);
  EXPECT_TRUE(spec.finetune().has_evaluate_every_steps());
  EXPECT_EQ(spec.finetune().evaluate_every_steps(), 0);
  EXPECT_EQ(spec.finetune().evaluate_windows(), 8);
  EXPECT_TRUE(spec.finetune().has_stop_when_no_better());
  EXPECT_EQ(spec.finetune().stop_when_no_better(), 0);
  EXPECT_EQ(spec.finetune().lora_rank(), 16);
  EXPECT_DOUBLE_EQ(spec.finetune().lora_alpha(), 32);
  EXPECT_FALSE(spec.alignment().match_energy());
  EXPECT_EQ(spec.resources().device(), "auto");
  EXPECT_TRUE(spec.resources().event_files());
  EXPECT_EQ(spec.resources().max_runtime_s(), 86400);
  EXPECT_EQ(spec.evaluation().perplexity().max_windows(), 0);
  EXPECT_TRUE(spec.evaluation().perplexity().has_max_windows());
}

TEST(ResolveJobSpec, RecipeBestMeansPrincipalAndTrainingOfLayersAndModel) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  const v1::JobSpec spec = ResolveJobSpec(written);
  EXPECT_EQ(spec.alignment().method(), "principal");
  EXPECT_TRUE(spec.alignment().restore_norm());
  EXPECT_EQ(spec.layerwise().method(), "distill");
  EXPECT_FALSE(spec.refine().outputs());
  EXPECT_EQ(spec.finetune().method(), "direct");
  EXPECT_DOUBLE_EQ(spec.finetune().learning_rate(), 2.5e-6);
}

TEST(ResolveJobSpec, RecipeBestRefinesWhereNothingIsTrained) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  written.mutable_finetune()->set_method("none");
  EXPECT_FALSE(ResolveJobSpec(written).refine().outputs()) << "its layers are trained";
  written.mutable_layerwise()->set_method("none");
  EXPECT_TRUE(ResolveJobSpec(written).refine().outputs());
  written.mutable_finetune()->set_method("direct");
  EXPECT_FALSE(ResolveJobSpec(written).refine().outputs()) << "the model is trained";
  written.mutable_finetune()->set_method("none");
  written.set_recipe("paper");
  EXPECT_FALSE(ResolveJobSpec(written).refine().outputs());
}

TEST(ResolveJobSpec, TrainsLayersOnTheTextOfFinetuneUnlessToldOtherwise) {
  v1::JobSpec written = GoodJob();
  EXPECT_EQ(ResolveJobSpec(written).layerwise().data(), written.calibration().data());
  written.mutable_finetune()->set_data("/data/finetune.jsonl");
  EXPECT_EQ(ResolveJobSpec(written).layerwise().data(), "/data/finetune.jsonl");
  written.mutable_layerwise()->set_data("/data/layerwise.jsonl");
  EXPECT_EQ(ResolveJobSpec(written).layerwise().data(), "/data/layerwise.jsonl");
  EXPECT_EQ(ResolveJobSpec(written).finetune().data(), "/data/finetune.jsonl");
}

TEST(ResolveJobSpec, TakesAllFilesAndTheFieldOfTheTextThatASectionInherits) {
  v1::JobSpec written = GoodJob();
  written.mutable_calibration()->clear_data();
  for (const char* file : {"/data/a.jsonl", "/data/b.jsonl"}) written.mutable_calibration()->add_data_files(file);
  written.mutable_calibration()->set_field("body");
  const v1::JobSpec spec = ResolveJobSpec(written);
  EXPECT_THAT(spec.finetune().data_files(), testing::ElementsAre("/data/a.jsonl", "/data/b.jsonl"));
  EXPECT_THAT(spec.layerwise().data_files(), testing::ElementsAre("/data/a.jsonl", "/data/b.jsonl"));
  EXPECT_EQ(spec.finetune().field(), "body");
  EXPECT_EQ(spec.layerwise().field(), "body");
  EXPECT_EQ(spec.evaluation().perplexity().field(), "text");
  written.mutable_finetune()->set_data("/data/c.jsonl");
  EXPECT_TRUE(ResolveJobSpec(written).finetune().data_files().empty());
  EXPECT_EQ(ResolveJobSpec(written).finetune().field(), "text");
}

TEST(ResolveJobSpec, PromptsAndCompletionsAreNoTextForLayers) {
  v1::JobSpec written = GoodJob();
  written.mutable_finetune()->set_data("/data/answers.jsonl");
  written.mutable_finetune()->set_loss("bild");
  const v1::JobSpec spec = ResolveJobSpec(written);
  EXPECT_EQ(spec.layerwise().data(), written.calibration().data());
  EXPECT_FALSE(spec.finetune().has_field());
}

TEST(ResolveJobSpec, FinetunesMoreGentlyAfterLayerwiseDistillation) {
  v1::JobSpec written = GoodJob();
  written.mutable_layerwise()->set_method("none");
  EXPECT_DOUBLE_EQ(ResolveJobSpec(written).finetune().learning_rate(), 1e-5);
  written.mutable_layerwise()->set_method("distill");
  EXPECT_DOUBLE_EQ(ResolveJobSpec(written).finetune().learning_rate(), 2.5e-6);
  written.mutable_sweep()->add_kv_heads(4);
  EXPECT_DOUBLE_EQ(ResolveJobSpec(written).finetune().learning_rate(), 2.5e-6);
}

TEST(ResolveJobSpec, LeavesTheRateOfFinetuneToEachArmOfASweepOverLayerwise) {
  v1::JobSpec written = GoodJob();
  written.mutable_sweep()->add_layerwise("none");
  written.mutable_sweep()->add_layerwise("distill");
  EXPECT_FALSE(ResolveJobSpec(written).finetune().has_learning_rate());
}

TEST(ResolveJobSpec, KeepsAWrittenRateOfFinetune) {
  v1::JobSpec written = GoodJob();
  written.mutable_finetune()->set_learning_rate(3e-4);
  written.mutable_layerwise()->set_method("distill");
  EXPECT_DOUBLE_EQ(ResolveJobSpec(written).finetune().learning_rate(), 3e-4);
  written.mutable_sweep()->add_layerwise("none");
  written.mutable_sweep()->add_layerwise("distill");
  EXPECT_DOUBLE_EQ(ResolveJobSpec(written).finetune().learning_rate(), 3e-4);
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
  written.mutable_layerwise()->set_method("none");
  written.mutable_refine()->set_outputs(false);
  written.mutable_finetune()->set_method("none");
  const v1::JobSpec spec = ResolveJobSpec(written);
  EXPECT_EQ(spec.alignment().method(), "none");
  EXPECT_EQ(spec.layerwise().method(), "none");
  EXPECT_FALSE(spec.refine().outputs());
  EXPECT_EQ(spec.finetune().method(), "none");
}

TEST(ResolveJobSpec, KeepsEveryWrittenKeyOfLayerwise) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  v1::Layerwise& layerwise = *written.mutable_layerwise();
  layerwise.set_method("none");
  layerwise.set_data("/data/layerwise.jsonl");
  layerwise.set_field("body");
  layerwise.set_sequences(64);
  layerwise.set_sequence_length(512);
  layerwise.set_passes(3);
  layerwise.set_batch_sequences(4);
  layerwise.set_learning_rate(1e-3);
  layerwise.set_map_weight(0);
  layerwise.set_layers_per_task(5);
  layerwise.set_seed(7);
  layerwise.set_precision("bfloat16");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(ResolveJobSpec(written).layerwise(), layerwise));
}

TEST(ResolveJobSpec, LeavesToTheModelWhatDependsOnItsShape) {
  const v1::JobSpec spec = ResolveJobSpec(GoodJob());
  EXPECT_FALSE(spec.calibration().has_sequence_length());
  EXPECT_FALSE(spec.layerwise().has_sequence_length());
  EXPECT_FALSE(spec.layerwise().has_learning_rate());
  EXPECT_FALSE(spec.layerwise().has_layers_per_task());
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
  EXPECT_FALSE(ResolveJobSpec(written).refine().outputs()) << "the recipe's own layerwise";
  written.mutable_sweep()->add_layerwise("none");
  EXPECT_TRUE(ResolveJobSpec(written).refine().outputs());
  v1::JobSpec distilling = written;
  distilling.mutable_sweep()->add_layerwise("distill");
  EXPECT_FALSE(ResolveJobSpec(distilling).refine().outputs());
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
    for (const bool sweeps : {false, true}) {
      if (sweeps) written.mutable_sweep()->add_layerwise("distill");
      const v1::JobSpec once = ResolveJobSpec(written);
      EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(once, ResolveJobSpec(once))) << recipe << sweeps;
    }
  }
}

}  // namespace
}  // namespace regroup
