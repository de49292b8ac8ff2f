#include "services/common/job_file/arms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "job_builder.h"
#include "services/common/job_file/resolve_job_spec.h"

namespace regroup {
namespace {

using testing::ElementsAre;

std::vector<std::string> Methods(const std::vector<v1::Arm>& arms) {
  std::vector<std::string> methods;
  for (const v1::Arm& arm : arms) methods.push_back(arm.finetune());
  return methods;
}

std::vector<std::string> MethodsOfLayers(const std::vector<v1::Arm>& arms) {
  std::vector<std::string> methods;
  for (const v1::Arm& arm : arms) methods.push_back(arm.layerwise());
  return methods;
}

/// Returns a resolved job as release 0.2.0 stored it, before there was layerwise distillation.
v1::JobSpec ResolvedBefore(const v1::JobSpec& written) {
  v1::JobSpec resolved = ResolveJobSpec(written);
  resolved.clear_layerwise();
  return resolved;
}

TEST(Arms, AJobWithoutASweepHasOneWithItsOwnSettings) {
  const v1::JobSpec spec = ResolveJobSpec(GoodJob());
  const std::vector<v1::Arm> arms = ArmsOf(spec);
  ASSERT_EQ(arms.size(), 1u);
  EXPECT_EQ(arms[0].kv_heads(), 2);
  EXPECT_EQ(arms[0].alignment(), "procrustes");
  EXPECT_EQ(arms[0].layerwise(), "none");
  EXPECT_FALSE(arms[0].refine());
  EXPECT_EQ(arms[0].finetune(), "l0");
  EXPECT_EQ(CountCombinations(spec), 1u);
  EXPECT_FALSE(VariesAnything(spec));
  EXPECT_TRUE(AnyArmTrains(spec));
  EXPECT_TRUE(AnyArmAligns(spec));
  EXPECT_FALSE(AnyArmRefines(spec));
  EXPECT_FALSE(AnyArmDistillsLayers(spec));
  EXPECT_THAT(TargetsOf(spec), ElementsAre(2));
}

TEST(Arms, ASweepReplacesTheJobsOwnSettingsWhereItListsAny) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_finetune()->set_method("none");
  spec.mutable_sweep()->add_finetune("none");
  spec.mutable_sweep()->add_finetune("direct");
  spec.mutable_sweep()->add_kv_heads(2);
  spec.mutable_sweep()->add_kv_heads(4);
  spec = ResolveJobSpec(spec);
  EXPECT_THAT(Methods(ArmsOf(spec)), ElementsAre("none", "direct", "none", "direct"));
  EXPECT_EQ(CountCombinations(spec), 4u);
  EXPECT_TRUE(VariesAnything(spec));
  EXPECT_TRUE(AnyArmTrains(spec));
  EXPECT_THAT(TargetsOf(spec), ElementsAre(4, 2));
}

TEST(Arms, ASweepWithoutTrainingTrainsNothingWhateverTheJobsOwnMethodIs) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_finetune()->set_method("direct");
  spec.mutable_sweep()->add_finetune("none");
  EXPECT_FALSE(AnyArmTrains(ResolveJobSpec(spec)));
}

TEST(Arms, ASweepOverLayerwiseCombinesItWithWhatFollows) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_layerwise()->set_method("distill");
  for (const char* method : {"none", "distill"}) spec.mutable_sweep()->add_layerwise(method);
  for (const char* method : {"none", "direct"}) spec.mutable_sweep()->add_finetune(method);
  for (const int heads : {4, 2}) spec.mutable_sweep()->add_kv_heads(heads);
  spec = ResolveJobSpec(spec);
  const std::vector<v1::Arm> arms = ArmsOf(spec);
  EXPECT_THAT(MethodsOfLayers(arms),
              ElementsAre("none", "none", "distill", "distill", "none", "none", "distill", "distill"));
  EXPECT_THAT(Methods(arms), ElementsAre("none", "direct", "none", "direct", "none", "direct", "none", "direct"));
  EXPECT_EQ(CountCombinations(spec), arms.size());
  EXPECT_FALSE(DistillsLayers(arms[1]));
  EXPECT_TRUE(DistillsLayers(arms[2]));
}

TEST(Arms, AnyArmThatDistillsItsLayersCounts) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_layerwise()->set_method("distill");
  EXPECT_TRUE(AnyArmDistillsLayers(ResolveJobSpec(spec)));
  spec.mutable_sweep()->add_layerwise("none");
  EXPECT_FALSE(AnyArmDistillsLayers(ResolveJobSpec(spec)));
  EXPECT_TRUE(VariesAnything(spec));
  spec.mutable_sweep()->add_layerwise("distill");
  EXPECT_TRUE(AnyArmDistillsLayers(ResolveJobSpec(spec)));
}

TEST(Arms, OfAJobOfAReleaseWithoutLayerwiseDistillNoLayers) {
  v1::JobSpec written = GoodJob();
  written.set_recipe("best");
  written.mutable_sweep()->add_kv_heads(8);
  written.mutable_sweep()->add_kv_heads(2);
  const v1::JobSpec spec = ResolvedBefore(written);
  EXPECT_FALSE(AnyArmDistillsLayers(spec));
  EXPECT_EQ(CountCombinations(spec), 2u);
  const std::vector<v1::Arm> arms = ArmsOf(spec, 8);
  ASSERT_EQ(arms.size(), 2u);
  for (const v1::Arm& arm : arms) EXPECT_FALSE(DistillsLayers(arm)) << arm.ShortDebugString();
}

TEST(Arms, FinetuneMoreGentlyWhereTheirLayersWereDistilled) {
  v1::JobSpec spec = GoodJob();
  for (const char* method : {"none", "distill"}) spec.mutable_sweep()->add_layerwise(method);
  spec = ResolveJobSpec(spec);
  const std::vector<v1::Arm> arms = ArmsOf(spec);
  ASSERT_EQ(arms.size(), 2u);
  EXPECT_DOUBLE_EQ(FinetuneRate(spec, arms[0]), 1e-5);
  EXPECT_DOUBLE_EQ(FinetuneRate(spec, arms[1]), 2.5e-6);
  spec.mutable_finetune()->set_learning_rate(3e-4);
  for (const v1::Arm& arm : arms) EXPECT_DOUBLE_EQ(FinetuneRate(spec, arm), 3e-4);
}

TEST(LayersPerTask, MakeAtMostEightTasksUnlessTheJobSaysHowMany) {
  v1::JobSpec spec = ResolveJobSpec(GoodJob());
  const std::vector<std::pair<int, int>> expected = {{0, 1},  {1, 1},  {8, 1},  {9, 2},
                                                     {16, 2}, {17, 3}, {32, 4}, {33, 5}};
  for (const auto& [layers, each] : expected) EXPECT_EQ(LayersPerTask(spec, layers), each) << layers;
  spec.mutable_layerwise()->set_layers_per_task(3);
  for (const int layers : {1, 33}) EXPECT_EQ(LayersPerTask(spec, layers), 3) << layers;
}

TEST(Arms, AnArmThatMergesNoHeadsOfTheModelNeitherRefitsNorTrains) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_layerwise()->set_method("distill");
  spec.mutable_refine()->set_outputs(true);
  spec.mutable_sweep()->add_kv_heads(8);
  spec.mutable_sweep()->add_finetune("none");
  spec.mutable_sweep()->add_finetune("direct");
  spec = ResolveJobSpec(spec);
  EXPECT_EQ(ArmsOf(spec).size(), 2u);
  const std::vector<v1::Arm> arms = ArmsOf(spec, 8);
  ASSERT_EQ(arms.size(), 1u);
  EXPECT_EQ(arms[0].layerwise(), "none");
  EXPECT_FALSE(DistillsLayers(arms[0]));
  EXPECT_FALSE(arms[0].refine());
  EXPECT_FALSE(Trains(arms[0]));
}

TEST(Arms, ThatMergeNothingAreOneWhateverTheSweepDoesToLayers) {
  v1::JobSpec spec = GoodJob();
  for (const char* method : {"none", "distill"}) spec.mutable_sweep()->add_layerwise(method);
  for (const int heads : {8, 2}) spec.mutable_sweep()->add_kv_heads(heads);
  EXPECT_THAT(MethodsOfLayers(ArmsOf(ResolveJobSpec(spec), 8)), ElementsAre("none", "none", "distill"));
}

TEST(Arms, AnyRefinedArmCounts) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_sweep()->add_refine(false);
  EXPECT_FALSE(AnyArmRefines(ResolveJobSpec(spec)));
  spec.mutable_sweep()->add_refine(true);
  EXPECT_TRUE(AnyArmRefines(ResolveJobSpec(spec)));
}

}  // namespace
}  // namespace regroup
