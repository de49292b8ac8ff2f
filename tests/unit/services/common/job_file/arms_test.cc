#include "services/common/job_file/arms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Arms, AJobWithoutASweepHasOneWithItsOwnSettings) {
  const v1::JobSpec spec = ResolveJobSpec(GoodJob());
  const std::vector<v1::Arm> arms = ArmsOf(spec);
  ASSERT_EQ(arms.size(), 1u);
  EXPECT_EQ(arms[0].kv_heads(), 2);
  EXPECT_EQ(arms[0].alignment(), "procrustes");
  EXPECT_FALSE(arms[0].refine());
  EXPECT_EQ(arms[0].finetune(), "l0");
  EXPECT_EQ(CountCombinations(spec), 1u);
  EXPECT_FALSE(VariesAnything(spec));
  EXPECT_TRUE(AnyArmTrains(spec));
  EXPECT_TRUE(AnyArmAligns(spec));
  EXPECT_FALSE(AnyArmRefines(spec));
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

TEST(Arms, AnArmThatMergesNoHeadsOfTheModelNeitherRefitsNorTrains) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_refine()->set_outputs(true);
  spec.mutable_sweep()->add_kv_heads(8);
  spec.mutable_sweep()->add_finetune("none");
  spec.mutable_sweep()->add_finetune("direct");
  spec = ResolveJobSpec(spec);
  EXPECT_EQ(ArmsOf(spec).size(), 2u);
  const std::vector<v1::Arm> arms = ArmsOf(spec, 8);
  ASSERT_EQ(arms.size(), 1u);
  EXPECT_FALSE(arms[0].refine());
  EXPECT_FALSE(Trains(arms[0]));
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
