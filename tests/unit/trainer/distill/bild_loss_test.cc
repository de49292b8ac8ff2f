#include "trainer/distill/bild_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "trainer/nn/transformer.h"

namespace regroup {
namespace {

constexpr int64_t kWords = 5;
constexpr double kTemperature = 1.7;
constexpr BildOptions kBild{.words = kWords, .temperature = kTemperature};

/// Inputs with 13 positions and a vocabulary of 30; the teacher has a different width.
struct Inputs {
  at::Tensor student;
  Linear student_projection;
  at::Tensor teacher;
  Linear teacher_projection;
};

Inputs RandomInputs() {
  at::manual_seed(9);
  const auto random = [](int64_t rows, int64_t width) { return at::randn({rows, width}); };
  return {random(13, 12),
          {0.5 * random(30, 12), random(30, 1).flatten()},
          random(13, 8),
          {0.5 * random(30, 8), random(30, 1).flatten()}};
}

/// Computes the KL of one leader and one position by the definition, pair by pair, with autograd's own operations in
/// float64.
at::Tensor LedByHand(const at::Tensor& leader, const at::Tensor& student, const at::Tensor& teacher) {
  const at::Tensor order = leader.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
  std::vector<at::Tensor> of_student, of_teacher;
  for (int64_t i = 0; i < kWords; ++i) {
    for (int64_t j = i + 1; j < kWords; ++j) {
      const int64_t first = order[i].item<int64_t>(), second = order[j].item<int64_t>();
      of_student.push_back((student[first] - student[second]) / kTemperature);
      of_teacher.push_back((teacher[first] - teacher[second]) / kTemperature);
    }
  }
  const at::Tensor q = at::stack(of_student).exp() / at::stack(of_student).exp().sum();
  const at::Tensor p = at::stack(of_teacher).exp() / at::stack(of_teacher).exp().sum();
  return (p * (p.log() - q.log())).sum();
}

struct LossAndGradients {
  at::Tensor loss, student, projection, bias;
};

template <typename Loss>
LossAndGradients Differentiate(const Inputs& inputs, at::ScalarType dtype, Loss loss_of) {
  const auto own = [&](const at::Tensor& tensor) {
    return tensor.detach().to(dtype, /*non_blocking=*/false, /*copy=*/true).set_requires_grad(true);
  };
  const at::Tensor student = own(inputs.student);
  const Linear projection{own(inputs.student_projection.weight), own(inputs.student_projection.bias)};
  const at::Tensor loss = loss_of(student, projection);
  loss.backward();
  return {loss.detach(), student.grad(), projection.weight.grad(), projection.bias.grad()};
}

LossAndGradients ByHand(const Inputs& inputs, double weight) {
  const at::Tensor teacher =
      at::linear(inputs.teacher.to(at::kDouble), inputs.teacher_projection.weight.to(at::kDouble),
                 inputs.teacher_projection.bias.to(at::kDouble));
  return Differentiate(inputs, at::kDouble, [&](const at::Tensor& hidden, const Linear& projection) {
    const at::Tensor student = Project(hidden, projection);
    at::Tensor loss = at::zeros({}, at::kDouble);
    for (int64_t token = 0; token < student.size(0); ++token) {
      loss = loss + LedByHand(teacher[token], student[token], teacher[token]) +
             LedByHand(student[token].detach(), student[token], teacher[token]);
    }
    return weight * loss;
  });
}

LossAndGradients Ours(const Inputs& inputs, double weight, int64_t chunk_tokens) {
  return Differentiate(inputs, at::kFloat, [&](const at::Tensor& hidden, const Linear& projection) {
    return ChunkedBildLoss(hidden, projection, inputs.teacher, inputs.teacher_projection, weight, kBild,
                           {.chunk_tokens = chunk_tokens});
  });
}

double RelativeError(const at::Tensor& value, const at::Tensor& expected) {
  return ((value.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

class BildLossTest : public testing::TestWithParam<int64_t> {};

TEST_P(BildLossTest, HasTheValueAndTheGradientsOfItsDefinition) {
  const Inputs inputs = RandomInputs();
  const LossAndGradients expected = ByHand(inputs, 0.3), ours = Ours(inputs, 0.3, GetParam());
  EXPECT_LT(RelativeError(ours.loss, expected.loss), 1e-5);
  EXPECT_LT(RelativeError(ours.student, expected.student), 1e-5);
  EXPECT_LT(RelativeError(ours.projection, expected.projection), 1e-5);
  EXPECT_LT(RelativeError(ours.bias, expected.bias), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(ChunkSizes, BildLossTest, testing::Values(1, 5, 13, 1000),
                         [](const auto& info) { return "Tokens" + std::to_string(info.param); });

TEST(BildLossValueTest, ItsGradientIsWhatSmallStepsShow) {
  const Inputs inputs = RandomInputs();
  const LossAndGradients ours = Ours(inputs, 1.0, 4);
  for (const auto& [token, entry] : {std::pair{0, 0}, std::pair{3, 7}, std::pair{12, 11}}) {
    double values[2];
    for (const int side : {0, 1}) {
      Inputs moved = inputs;
      moved.student = inputs.student.clone();
      moved.student[token][entry] += side == 0 ? -2e-3 : 2e-3;
      values[side] = Ours(moved, 1.0, 4).loss.item<double>();
    }
    EXPECT_NEAR((values[1] - values[0]) / 4e-3, ours.student[token][entry].item<double>(), 2e-3);
  }
}

TEST(BildLossValueTest, IsZeroForEqualLogitsAndForEqualLogitsButForAConstant) {
  Inputs inputs = RandomInputs();
  inputs.teacher = inputs.student;
  inputs.teacher_projection = {inputs.student_projection.weight, inputs.student_projection.bias + 3.0};
  const LossAndGradients ours = Ours(inputs, 1.0, 4);
  EXPECT_NEAR(ours.loss.item<double>(), 0.0, 1e-5);
  EXPECT_LT(ours.student.abs().max().item<double>(), 1e-5);
}

TEST(BildLossValueTest, AVocabularySmallerThanTheLeadersIsTakenWhole) {
  Inputs inputs = RandomInputs();
  for (Linear* projection : {&inputs.student_projection, &inputs.teacher_projection}) {
    *projection = {projection->weight.narrow(0, 0, kWords), projection->bias.narrow(0, 0, kWords)};
  }
  const LossAndGradients expected = ByHand(inputs, 1.0);
  const LossAndGradients ours = Differentiate(inputs, at::kFloat, [&](const at::Tensor& hidden, const Linear& map) {
    return ChunkedBildLoss(hidden, map, inputs.teacher, inputs.teacher_projection, 1.0,
                           {.words = 16, .temperature = kTemperature});
  });
  EXPECT_LT(RelativeError(ours.student, expected.student), 1e-5);
}

TEST(BildLossValueTest, WithoutTokensIsZero) {
  Inputs inputs = RandomInputs();
  inputs.student = inputs.student.narrow(0, 0, 0);
  inputs.teacher = inputs.teacher.narrow(0, 0, 0);
  const LossAndGradients ours = Ours(inputs, 1.0, 4);
  EXPECT_EQ(ours.loss.item<double>(), 0.0);
  EXPECT_EQ(ours.projection.abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace regroup
