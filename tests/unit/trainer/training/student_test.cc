#include "trainer/training/student.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/nn/window_runner.h"
#include "trainer/training/gates.h"

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
    if (group.name == "shared") {
      EXPECT_EQ(group.rate, 2.0);
    }
    if (group.name == "gates") {
      EXPECT_EQ(group.rate, 5.0);
      EXPECT_FALSE(group.clipped);
      EXPECT_EQ(group.weight_decay, 0.0);
    }
  }
  // Two layers, keys and values, 2 shared heads of 6 rows with 10 weights and a bias each.
  EXPECT_EQ(shared, 2 * 2 * 2 * 6 * 11);
  // The source's own 4 heads remain next to the shared ones, and there are 8 gates.
  EXPECT_EQ(total, source_->ParameterCount() + shared + 8);
}

TEST_F(StudentTest, DirectTrainingHasNoGates) {
  Student student = Make(false);
  EXPECT_FALSE(student.gated());
  EXPECT_EQ(student.gates(), 0);
  for (const ParameterGroup& group : student.ParameterGroups(1.0)) {
    if (group.name == "gates") {
      EXPECT_TRUE(group.parameters.empty());
    }
  }
}

TEST_F(StudentTest, GatesStartOpen) {
  Student student = Make(true);
  EXPECT_EQ(student.gates(), 8);
  EXPECT_TRUE(at::equal(student.scores(), at::full({8}, kOpenScore)));
}

/// Rank 2; alpha 3.
constexpr AdapterSettings kAdapters{.rank = 2, .alpha = 3, .seed = 4};

class AdaptersTest : public StudentTest, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    StudentTest::SetUp();
    teacher_ = *source_->Load(at::kFloat, at::kCPU);
  }
  Student MakeAdapted() const {
    Student student = Make(GetParam());
    EXPECT_TRUE(student.TrainAdapters(teacher_, kAdapters).ok());
    return student;
  }
  at::Tensor Gates() const { return GetParam() ? at::full({8}, 0.25f) : at::Tensor(); }
  static std::vector<at::Tensor*> ParametersOf(Student& student, const std::string& name) {
    for (const ParameterGroup& group : student.ParameterGroups(1.0)) {
      if (group.name == name) return group.parameters;
    }
    return {};
  }
  /// Fills the adapters with random numbers, so that they change the model.
  static void FillAdapters(Student& student) {
    at::manual_seed(12);
    for (at::Tensor* adapter : ParametersOf(student, "adapters")) *adapter = 0.3 * at::randn(adapter->sizes());
  }
  /// Returns the tested maps: those of the second layer, with their indices among the adapters.
  static std::vector<std::pair<at::Tensor*, size_t>> Maps(Model& model) {
    Block& block = model.blocks[1];
    return {{&block.attention.query.weight, 5},
            {&block.attention.output.weight, 6},
            {&block.feed_forward.gate.weight, 7},
            {&block.feed_forward.up.weight, 8},
            {&block.feed_forward.down.weight, 9}};
  }

  Model teacher_;
};

TEST_P(AdaptersTest, ChangeNothingAtFirst) {
  const Student adapted = MakeAdapted(), frozen = Make(GetParam());
  EXPECT_TRUE(at::equal(Logits(adapted.Effective(Gates())), Logits(frozen.Effective(Gates()))));
}

TEST_P(AdaptersTest, AddTheirScaledProductToEachMap) {
  Student student = MakeAdapted(), frozen = Make(GetParam());
  FillAdapters(student);
  const std::vector<at::Tensor*> adapters = ParametersOf(student, "adapters");
  ASSERT_EQ(adapters.size(), 2U * 2 * 5);
  Model changed = student.Effective(Gates()), before = frozen.Effective(Gates());
  const auto old = Maps(before);
  for (const auto& [weight, place] : Maps(changed)) {
    const at::Tensor& a = *adapters[2 * place];
    const at::Tensor& b = *adapters[2 * place + 1];
    const at::Tensor expected = *old[place - 5].first + 1.5 * at::mm(b, a);
    EXPECT_TRUE(at::allclose(*weight, expected, 0, 1e-6)) << place;
  }
  EXPECT_TRUE(at::equal(changed.blocks[1].attention.key.weight, before.blocks[1].attention.key.weight));
}

TEST_P(AdaptersTest, HaveTheGradientsOfTheSumDoneByHand) {
  Student student = MakeAdapted();
  FillAdapters(student);
  const std::vector<at::Tensor*> adapters = ParametersOf(student, "adapters");
  for (at::Tensor* adapter : adapters) adapter->requires_grad_();
  RunHiddenStates(student.Effective(Gates()), tokens_).square().sum().backward();

  // Computes the same in float64 for one map at a time, with the gradient of the whole weight.
  Model by_hand = CloneModel(student.Effective(Gates()), at::kDouble, at::kCPU);
  for (const auto& [weight, place] : Maps(by_hand)) weight->requires_grad_();
  RunHiddenStates(by_hand, tokens_).square().sum().backward();
  for (const auto& [weight, place] : Maps(by_hand)) {
    const at::Tensor a = adapters[2 * place]->detach().to(at::kDouble);
    const at::Tensor b = adapters[2 * place + 1]->detach().to(at::kDouble);
    const auto error = [](const at::Tensor& value, const at::Tensor& expected) {
      return ((value.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
    };
    EXPECT_LT(error(adapters[2 * place]->grad(), 1.5 * at::mm(b.t(), weight->grad())), 1e-4) << place;
    EXPECT_LT(error(adapters[2 * place + 1]->grad(), 1.5 * at::mm(weight->grad(), a.t())), 1e-4) << place;
  }
}

TEST_P(AdaptersTest, TrainBesideTheSharedHeadsAndGatesAlone) {
  Student student = MakeAdapted();
  std::map<std::string, int64_t> trained;
  for (const ParameterGroup& group : student.ParameterGroups(5.0)) {
    for (const at::Tensor* parameter : group.parameters) trained[group.name] += parameter->numel();
  }
  // Two layers: 24 x 10 twice, 14 x 10 three times; keys and values of 2 heads of 6 rows with 10 weights and a bias.
  std::map<std::string, int64_t> expected = {{"adapters", 2 * 2 * (2 * 34 + 3 * 24)}, {"shared", 2 * 2 * 2 * 6 * 11}};
  if (GetParam()) expected["gates"] = 8;
  EXPECT_EQ(trained, expected);
}

TEST_P(AdaptersTest, LeaveToTheTeacherWhatTheConversionDidNotTouch) {
  Student student = MakeAdapted();
  const Model model = student.Effective({});
  EXPECT_TRUE(model.embedding.is_alias_of(teacher_.embedding));
  EXPECT_TRUE(model.blocks[0].attention_norm.weight.is_alias_of(teacher_.blocks[0].attention_norm.weight));
  EXPECT_FALSE(model.blocks[0].attention.key.weight.is_alias_of(teacher_.blocks[0].attention.key.weight));
}

TEST_P(AdaptersTest, ARankLargerThanAMapIsRefusedWithItsName) {
  Student student = Make(GetParam());
  const absl::Status status = student.TrainAdapters(teacher_, {.rank = 11, .alpha = 3});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "finetune.lora_rank: 11 does not fit layers.0.attention.query.weight [24 x 10]; write at most 10");
}

INSTANTIATE_TEST_SUITE_P(Methods, AdaptersTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "L0" : "Direct"; });

}  // namespace
}  // namespace regroup
