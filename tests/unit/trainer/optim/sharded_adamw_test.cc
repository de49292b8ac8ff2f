#include "trainer/optim/sharded_adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace regroup {
namespace {

/// Computes AdamW of one parameter by its equations, in float64 (Loshchilov & Hutter, 2019).
struct AdamWByHand {
  at::Tensor parameter, first, second;
  int steps = 0;

  explicit AdamWByHand(const at::Tensor& start)
      : parameter(start.to(at::kDouble).clone()), first(at::zeros_like(parameter)), second(at::zeros_like(parameter)) {}

  void Step(const at::Tensor& gradient, double rate, double weight_decay) {
    const double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
    ++steps;
    first = beta1 * first + (1 - beta1) * gradient;
    second = beta2 * second + (1 - beta2) * gradient * gradient;
    const at::Tensor mean = first / (1 - std::pow(beta1, steps));
    const at::Tensor variance = second / (1 - std::pow(beta2, steps));
    parameter = parameter * (1 - rate * weight_decay) - rate * mean / (variance.sqrt() + epsilon);
  }
};

at::Tensor GradientAt(int step, const at::Tensor& parameter, int which) {
  at::manual_seed(100 * which + step);
  return at::randn(parameter.sizes(), at::kDouble) * 0.1;
}

/// Sets the parameter's gradient to `gradient`, through the backward pass of a function that has this gradient.
void Backward(const at::Tensor& parameter, const at::Tensor& gradient) {
  (parameter * gradient.to(parameter.scalar_type())).sum().backward();
}

class ShardedAdamWTest : public testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(1);
    matrix_ = at::randn({7, 5});
    vector_ = at::randn({11});
    scores_ = at::randn({4});
  }
  std::vector<ParameterGroup> Groups() {
    return {{.name = "base", .parameters = {&matrix_, &vector_}, .weight_decay = 0.1},
            {.name = "gates", .parameters = {&scores_}, .rate = 30.0, .clipped = false}};
  }
  double StepWith(ShardedAdamW& optimizer, int step, double rate) {
    optimizer.ZeroGradients();
    Backward(matrix_, GradientAt(step, matrix_, 0));
    Backward(vector_, GradientAt(step, vector_, 1));
    Backward(scores_, GradientAt(step, scores_, 2));
    const auto norm = optimizer.Step(rate);
    EXPECT_TRUE(norm.ok()) << norm.status();
    return norm.value_or(-1);
  }
  std::vector<at::Tensor> Values() const {
    return {matrix_.detach().clone(), vector_.detach().clone(), scores_.detach().clone()};
  }

  std::unique_ptr<Communicator> self_ = MakeSelfCommunicator();
  at::Tensor matrix_, vector_, scores_;
};

/// Maximum sum of the rounding errors of 25 float32 steps for values of about 3.
constexpr double kRounding = 4e-6;

double Distance(const at::Tensor& value, const at::Tensor& expected) {
  return (value.to(at::kDouble) - expected).abs().max().item<double>();
}

TEST_F(ShardedAdamWTest, FollowsTheEquationsForSeveralGroupsWithTheirRatesAndDecays) {
  AdamWByHand matrix(matrix_), vector(vector_), scores(scores_);
  ShardedAdamW optimizer(Groups(), {.clip_norm = 0}, *self_);
  for (int step = 0; step < 25; ++step) {
    const double rate = 0.01 / (step + 1);
    StepWith(optimizer, step, rate);
    matrix.Step(GradientAt(step, matrix_, 0), rate, 0.1);
    vector.Step(GradientAt(step, vector_, 1), rate, 0.1);
    scores.Step(GradientAt(step, scores_, 2), 30.0 * rate, 0.0);
  }
  EXPECT_LT(Distance(matrix_, matrix.parameter), kRounding);
  EXPECT_LT(Distance(vector_, vector.parameter), kRounding);
  EXPECT_LT(Distance(scores_, scores.parameter), kRounding);
}

TEST_F(ShardedAdamWTest, ClipsByTheNormOfTheClippedGroupsAlone) {
  AdamWByHand matrix(matrix_), vector(vector_), scores(scores_);
  ShardedAdamW optimizer(Groups(), {.clip_norm = 0.05}, *self_);
  for (int step = 0; step < 10; ++step) {
    const at::Tensor for_matrix = GradientAt(step, matrix_, 0), for_vector = GradientAt(step, vector_, 1);
    const double norm = std::sqrt((for_matrix.square().sum() + for_vector.square().sum()).item<double>());
    ASSERT_GT(norm, 0.05);
    EXPECT_NEAR(StepWith(optimizer, step, 0.01), norm, 1e-6 * norm);
    matrix.Step(for_matrix * (0.05 / norm), 0.01, 0.1);
    vector.Step(for_vector * (0.05 / norm), 0.01, 0.1);
    scores.Step(GradientAt(step, scores_, 2), 0.3, 0.0);
  }
  EXPECT_LT(Distance(matrix_, matrix.parameter), kRounding);
  EXPECT_LT(Distance(vector_, vector.parameter), kRounding);
  EXPECT_LT(Distance(scores_, scores.parameter), kRounding);
}

TEST_F(ShardedAdamWTest, GradientsOfSeveralBackwardPassesAddUp) {
  AdamWByHand matrix(matrix_);
  ShardedAdamW optimizer({{.name = "base", .parameters = {&matrix_}}}, {.clip_norm = 0}, *self_);
  optimizer.ZeroGradients();
  Backward(matrix_, GradientAt(0, matrix_, 0));
  Backward(matrix_, GradientAt(1, matrix_, 0));
  ASSERT_TRUE(optimizer.Step(0.01).ok());
  matrix.Step(GradientAt(0, matrix_, 0) + GradientAt(1, matrix_, 0), 0.01, 0.0);
  EXPECT_LT(Distance(matrix_, matrix.parameter), 1e-7);
}

class NonFiniteGradientTest : public ShardedAdamWTest,
                              public testing::WithParamInterface<std::pair<const char*, double>> {};

TEST_P(NonFiniteGradientTest, LeavesParametersAndMomentsAlone) {
  ShardedAdamW optimizer(Groups(), {}, *self_);
  StepWith(optimizer, 0, 0.01);
  const std::vector<at::Tensor> before = Values();
  std::vector<at::Tensor> state_before;
  for (const auto& [name, tensor] : optimizer.ShardState()) state_before.push_back(tensor.clone());

  at::Tensor& hit = std::string(GetParam().first) == "gates" ? scores_ : vector_;
  optimizer.ZeroGradients();
  Backward(matrix_, GradientAt(1, matrix_, 0));
  at::Tensor gradient = at::zeros(hit.sizes());
  gradient[1] = GetParam().second;
  Backward(hit, gradient);
  const auto norm = optimizer.Step(0.01);
  ASSERT_TRUE(norm.ok());
  EXPECT_FALSE(std::isfinite(*norm));

  const std::vector<at::Tensor> after = Values();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
  const auto state = optimizer.ShardState();
  for (size_t i = 0; i < state.size(); ++i) EXPECT_TRUE(at::equal(state[i].second, state_before[i])) << state[i].first;
  // The next good step is counted.
  EXPECT_TRUE(std::isfinite(StepWith(optimizer, 1, 0.01)));
  EXPECT_FALSE(at::equal(before[0], matrix_));
}

INSTANTIATE_TEST_SUITE_P(Groups, NonFiniteGradientTest,
                         testing::Values(std::pair{"base", std::numeric_limits<double>::quiet_NaN()},
                                         std::pair{"base", std::numeric_limits<double>::infinity()},
                                         std::pair{"gates", std::numeric_limits<double>::quiet_NaN()},
                                         std::pair{"gates", -std::numeric_limits<double>::infinity()}),
                         [](const auto& info) {
                           return std::string(info.param.first) +
                                  (std::isnan(info.param.second) ? "NotANumber" : "Infinite");
                         });

class StateTest : public ShardedAdamWTest, public testing::WithParamInterface<at::ScalarType> {
 protected:
  void SetUp() override {
    ShardedAdamWTest::SetUp();
    matrix_ = matrix_.to(GetParam());
    vector_ = vector_.to(GetParam());
  }
};

TEST_P(StateTest, SavedAndLoadedContinuesBitByBit) {
  ShardedAdamW first(Groups(), {}, *self_);
  for (int step = 0; step < 5; ++step) StepWith(first, step, 0.01);
  std::vector<std::pair<std::string, at::Tensor>> saved;
  for (const auto& [name, tensor] : first.ShardState()) saved.emplace_back(name, tensor.clone());
  // Concatenates all buckets of a group; on one rank this is the full state.
  const auto full = [&](const std::string& group, const std::string& part) {
    std::vector<at::Tensor> buckets;
    for (const auto& [name, tensor] : saved) {
      if (name.starts_with(group + "/") && name.ends_with("/" + part)) buckets.push_back(tensor.reshape({-1}));
    }
    return at::cat(buckets);
  };
  for (int step = 5; step < 10; ++step) StepWith(first, step, 0.01);
  const std::vector<at::Tensor> expected = Values();

  SetUp();
  matrix_.fill_(7);
  ShardedAdamW second(Groups(), {}, *self_);
  for (const std::string& group : second.GroupNames()) {
    ASSERT_TRUE(second
                    .LoadState(group, {.master = {full(group, "master")},
                                       .first_moment = {full(group, "first_moment")},
                                       .second_moment = {full(group, "second_moment")},
                                       .step = full(group, "step").squeeze()})
                    .ok());
  }
  for (int step = 5; step < 10; ++step) StepWith(second, step, 0.01);
  const std::vector<at::Tensor> actual = Values();
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(actual[i], expected[i]));
}

TEST_P(StateTest, MasterWeightsKeepWhatTheParametersRoundAway) {
  AdamWByHand matrix(matrix_);
  ShardedAdamW optimizer({{.name = "base", .parameters = {&matrix_}}}, {.clip_norm = 0}, *self_);
  // Each step is far below bfloat16's resolution of these weights; their sum is not.
  for (int step = 0; step < 50; ++step) {
    const at::Tensor gradient = at::full({7, 5}, 0.5, at::kDouble);
    optimizer.ZeroGradients();
    Backward(matrix_, gradient);
    ASSERT_TRUE(optimizer.Step(1e-3).ok());
    matrix.Step(gradient, 1e-3, 0.0);
  }
  EXPECT_LT(Distance(optimizer.ShardState()[0].second.view({7, 5}), matrix.parameter), 1e-5);
  EXPECT_TRUE(at::equal(matrix_.detach(), optimizer.ShardState()[0].second.view({7, 5}).to(GetParam())));
  EXPECT_TRUE(at::equal(optimizer.MasterWeights()[0], optimizer.ShardState()[0].second.view({7, 5})));
}

TEST_P(StateTest, SumsOverMicroBatchesLoseNothing) {
  AdamWByHand matrix(matrix_);
  ShardedAdamW optimizer({{.name = "base", .parameters = {&matrix_}}}, {.clip_norm = 0}, *self_);
  // In bfloat16 the small gradients would vanish next to the first one; a step shows their sum in its moments.
  optimizer.ZeroGradients();
  Backward(matrix_, at::full({7, 5}, 1.0, at::kDouble));
  for (int micro_batch = 0; micro_batch < 512; ++micro_batch) {
    ASSERT_TRUE(optimizer.AccumulateGradients().ok());
    Backward(matrix_, at::full({7, 5}, 0x1p-9, at::kDouble));
  }
  const auto norm = optimizer.Step(1e-3);
  ASSERT_TRUE(norm.ok());
  EXPECT_NEAR(*norm, 2.0 * std::sqrt(35.0), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, StateTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST_F(ShardedAdamWTest, RefusesStateOfAnotherSizeAndNamesTheGroup) {
  ShardedAdamW optimizer(Groups(), {}, *self_);
  const at::Tensor piece = at::zeros({3});
  const GroupState wrong{.master = {piece}, .first_moment = {piece}, .second_moment = {piece}, .step = at::zeros({})};
  const absl::Status status = optimizer.LoadState("gates", wrong);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("gates"), status.message().npos);
  EXPECT_EQ(optimizer.LoadState("other", wrong).code(), absl::StatusCode::kNotFound);
}

TEST_F(ShardedAdamWTest, KeepsTheParametersValuesAndShapes) {
  const std::vector<at::Tensor> before = Values();
  ShardedAdamW optimizer(Groups(), {}, *self_);
  const std::vector<at::Tensor> after = Values();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
  EXPECT_TRUE(matrix_.requires_grad());
  EXPECT_EQ(optimizer.GroupSize("base"), 46);
  EXPECT_EQ(optimizer.GroupSize("gates"), 4);
}

}  // namespace
}  // namespace regroup
