#include "trainer/stages/student.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tiny_llama.h"
#include "trainer/gates/gates.h"
#include "trainer/nn/window_runner.h"
#include "trainer/stages/conversion.h"

namespace regroup {
namespace {

class StudentTest : public testing::Test {
 protected:
  void SetUp() override {
    TinyLlama{.biases = true}.Write(folder_.path());
    source_ = std::make_unique<SourceModel>(*SourceModel::Open(folder_.path()));
    averages_ = *Conversion::Average(source_->config(), 2);
    at::manual_seed(8);
    tokens_ = at::randint(0, 23, {2, 10}, at::kLong);
  }
  Student Make(bool gated) const { return *Student::Make(*source_, averages_, gated, at::kFloat, at::kCPU); }
  at::Tensor Logits(const Model& model) const {
    return RunOutputProjection(model, RunHiddenStates(model, tokens_)).detach();
  }

  TemporaryFolder folder_;
  std::unique_ptr<SourceModel> source_;
  Conversion averages_;
  at::Tensor tokens_;
};

TEST_F(StudentTest, WithEveryGateOpenComputesWhatTheSourceComputes) {
  const Student student = Make(true);
  const at::Tensor open = Logits(student.Effective(at::ones({8})));
  EXPECT_TRUE(at::allclose(open, Logits(*source_->Load(at::kFloat, at::kCPU)), 0, 1e-5));
}

TEST_F(StudentTest, WithEveryGateShutIsTheMergedModel) {
  const Student student = Make(true);
  const at::Tensor merged = Logits(*LoadMerged(*source_, averages_, at::kFloat, at::kCPU));
  EXPECT_TRUE(at::allclose(Logits(student.Effective(at::zeros({8}))), merged, 0, 1e-5));
  EXPECT_TRUE(at::equal(Logits(student.Effective({})), merged));
  EXPECT_EQ(student.Effective({}).config.kv_heads, 2);
  EXPECT_TRUE(at::equal(Logits(Make(false).Effective({})), merged));
}

TEST_F(StudentTest, MixesEachHeadWithItsOwnGate) {
  const Student student = Make(true);
  const at::Tensor z = at::tensor({0.1f, 0.9f, 0.4f, 0.0f, 1.0f, 0.5f, 0.25f, 0.75f});
  const Model mixed = student.Effective(z);
  const Model source = *source_->Load(at::kFloat, at::kCPU);
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int64_t head = 0; head < 4; ++head) {
      const float gate = z[layer * 4 + head].item<float>();
      const auto head_of = [&](const at::Tensor& rows, int64_t index) { return rows.narrow(0, index * 6, 6); };
      const auto expected = [&](const at::Tensor& rows) {
        const int64_t first = head / 2 * 2;
        return gate * head_of(rows, head) + (1 - gate) * 0.5 * (head_of(rows, first) + head_of(rows, first + 1));
      };
      const AttentionProjections& ours = mixed.blocks[layer].attention;
      const AttentionProjections& theirs = source.blocks[layer].attention;
      EXPECT_TRUE(at::allclose(head_of(ours.key.weight, head), expected(theirs.key.weight), 0, 1e-6));
      EXPECT_TRUE(at::allclose(head_of(ours.value.weight, head), expected(theirs.value.weight), 0, 1e-6));
      EXPECT_TRUE(at::allclose(head_of(ours.key.bias, head), expected(theirs.key.bias), 0, 1e-6));
      EXPECT_TRUE(at::allclose(head_of(ours.value.bias, head), expected(theirs.value.bias), 0, 1e-6));
    }
  }
}

TEST_F(StudentTest, EveryWeightTrainsInExactlyOneGroup) {
  Student student = Make(true);
  std::set<const at::Tensor*> seen;
  int64_t shared = 0, total = 0;
  for (const ParameterGroup& group : student.ParameterGroups(5.0)) {
    for (const at::Tensor* parameter : group.parameters) {
      EXPECT_TRUE(seen.insert(parameter).second);
      total += parameter->numel();
      if (group.name == "shared") shared += parameter->numel();
    }
    if (group.name == "shared") EXPECT_EQ(group.rate, 2.0);
    if (group.name == "gates") {
      EXPECT_EQ(group.rate, 5.0);
      EXPECT_FALSE(group.clipped);
      EXPECT_EQ(group.weight_decay, 0.0);
    }
  }
  // Two layers, keys and values, 2 shared heads of 6 rows with 10 weights and a bias each.
  EXPECT_EQ(shared, 2 * 2 * 2 * 6 * 11);
  // The source's own 4 heads stay beside the shared ones, and there are 8 gates.
  EXPECT_EQ(total, source_->ParameterCount() + shared + 8);
}

TEST_F(StudentTest, DirectTrainingHasNoGates) {
  Student student = Make(false);
  EXPECT_FALSE(student.gated());
  EXPECT_EQ(student.gates(), 0);
  for (const ParameterGroup& group : student.ParameterGroups(1.0)) {
    if (group.name == "gates") EXPECT_TRUE(group.parameters.empty());
  }
}

TEST_F(StudentTest, GatesStartOpen) {
  Student student = Make(true);
  EXPECT_EQ(student.gates(), 8);
  EXPECT_TRUE(at::equal(student.scores(), at::full({8}, kOpenScore)));
}

}  // namespace
}  // namespace regroup
