#include "trainer/distill/kl_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trainer/nn/transformer.h"

namespace regroup {
namespace {

struct Inputs {
  at::Tensor student;
  Linear student_projection;
  at::Tensor teacher;
  Linear teacher_projection;

  Inputs To(at::ScalarType dtype) const {
    const auto to = [&](const Linear& linear) { return Linear{linear.weight.to(dtype), linear.bias.to(dtype)}; };
    return {student.to(dtype), to(student_projection), teacher.to(dtype), to(teacher_projection)};
  }
};

/// Returns inputs with 37 positions and a vocabulary of 50; the teacher has a different width.
Inputs RandomInputs() {
  at::manual_seed(9);
  const auto random = [](int64_t rows, int64_t width) { return at::randn({rows, width}, at::kDouble); };
  return {random(37, 12),
          {0.5 * random(50, 12), random(50, 1).flatten()},
          random(37, 8),
          {0.5 * random(50, 8), random(50, 1).flatten()}};
}

Linear Trainable(const Linear& linear) {
  const auto owned = [](const at::Tensor& tensor) { return tensor.detach().clone().set_requires_grad(true); };
  return {owned(linear.weight), owned(linear.bias)};
}

struct LossAndGradients {
  at::Tensor loss, student, projection, bias;
};

/// Computes the loss by the definition, in float64, differentiated by autograd.
LossAndGradients PlainLoss(const Inputs& given, double weight, double soft_cap = 0) {
  const Inputs inputs = given.To(at::kDouble);
  at::Tensor student = inputs.student.detach().clone().set_requires_grad(true);
  const Linear projection = Trainable(inputs.student_projection);
  const auto probabilities = [&](const at::Tensor& hidden, const Linear& map) {
    const at::Tensor logits = Project(hidden, map);
    return at::softmax(soft_cap > 0 ? soft_cap * at::tanh(logits / soft_cap) : logits, -1);
  };
  const at::Tensor p = probabilities(inputs.teacher, inputs.teacher_projection);
  const at::Tensor q = probabilities(student, projection);
  const at::Tensor loss = weight * (p * (p.log() - q.log())).sum();
  loss.backward();
  return {loss.detach(), student.grad(), projection.weight.grad(), projection.bias.grad()};
}

LossAndGradients ChunkedLoss(const Inputs& inputs, double weight, int64_t chunk_tokens, double scale = 1.0,
                             double soft_cap = 0) {
  at::Tensor student = inputs.student.detach().clone().set_requires_grad(true);
  const Linear projection = Trainable(inputs.student_projection);
  const at::Tensor loss = ChunkedKlLoss(student, projection, inputs.teacher, inputs.teacher_projection, weight,
                                        {.chunk_tokens = chunk_tokens, .soft_cap = soft_cap});
  (loss * scale).backward();
  return {loss.detach(), student.grad(), projection.weight.grad(), projection.bias.grad()};
}

double RelativeError(const at::Tensor& value, const at::Tensor& expected) {
  return ((value.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

class ChunkedKlLossTest : public testing::TestWithParam<int64_t> {};

TEST_P(ChunkedKlLossTest, HasTheValueAndTheGradientsOfThePlainLoss) {
  const Inputs inputs = RandomInputs().To(at::kFloat);
  const LossAndGradients plain = PlainLoss(inputs, 0.3);
  const LossAndGradients chunked = ChunkedLoss(inputs, 0.3, GetParam());
  EXPECT_EQ(chunked.loss.scalar_type(), at::kFloat);
  EXPECT_LT(RelativeError(chunked.loss, plain.loss), 1e-6);
  EXPECT_LT(RelativeError(chunked.student, plain.student), 1e-6);
  EXPECT_LT(RelativeError(chunked.projection, plain.projection), 1e-6);
  EXPECT_LT(RelativeError(chunked.bias, plain.bias), 1e-6);
}

TEST_P(ChunkedKlLossTest, CapsLogitsSoftly) {
  const Inputs inputs = RandomInputs().To(at::kFloat);
  const LossAndGradients plain = PlainLoss(inputs, 0.3, 1.5);
  ASSERT_GT(RelativeError(PlainLoss(inputs, 0.3).loss, plain.loss), 0.1) << "the cap changes nothing";
  const LossAndGradients chunked = ChunkedLoss(inputs, 0.3, GetParam(), 1.0, 1.5);
  EXPECT_LT(RelativeError(chunked.loss, plain.loss), 2e-6);
  EXPECT_LT(RelativeError(chunked.student, plain.student), 2e-6);
  EXPECT_LT(RelativeError(chunked.projection, plain.projection), 2e-6);
  EXPECT_LT(RelativeError(chunked.bias, plain.bias), 2e-6);
}

TEST_P(ChunkedKlLossTest, ScalesItsGradientsWithWhatFollows) {
  const Inputs inputs = RandomInputs().To(at::kFloat);
  const LossAndGradients plain = PlainLoss(inputs, 2.5 * 0.3);
  const LossAndGradients chunked = ChunkedLoss(inputs, 0.3, GetParam(), 2.5);
  EXPECT_LT(RelativeError(chunked.student, plain.student), 1e-6);
  EXPECT_LT(RelativeError(chunked.projection, plain.projection), 1e-6);
  EXPECT_LT(RelativeError(chunked.bias, plain.bias), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(ChunkSizes, ChunkedKlLossTest, testing::Values(1, 5, 36, 37, 1000),
                         [](const auto& info) { return "Tokens" + std::to_string(info.param); });

TEST(KlLossTest, LeavesAProjectionAloneThatNeedsNoGradient) {
  const Inputs inputs = RandomInputs().To(at::kFloat);
  at::Tensor student = inputs.student.clone().set_requires_grad(true);
  ChunkedKlLoss(student, inputs.student_projection, inputs.teacher, inputs.teacher_projection, 0.3).backward();
  EXPECT_LT(RelativeError(student.grad(), PlainLoss(inputs, 0.3).student), 1e-6);
  EXPECT_FALSE(inputs.student_projection.weight.grad().defined());
}

TEST(KlLossTest, GivesTheTeacherNoGradient) {
  const Inputs inputs = RandomInputs().To(at::kFloat);
  at::Tensor student = inputs.student.clone().set_requires_grad(true);
  at::Tensor teacher = inputs.teacher.clone().set_requires_grad(true);
  ChunkedKlLoss(student, inputs.student_projection, teacher, inputs.teacher_projection, 0.3).backward();
  EXPECT_FALSE(teacher.grad().defined());
}

TEST(KlLossTest, IsZeroForEqualDistributionsAndHasNoGradientThere) {
  const Inputs inputs = RandomInputs().To(at::kFloat);
  at::Tensor student = inputs.student.clone().set_requires_grad(true);
  const at::Tensor loss =
      ChunkedKlLoss(student, inputs.student_projection, inputs.student, inputs.student_projection, 1.0);
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), 0.0, 1e-5);
  EXPECT_LT(student.grad().abs().max().item<double>(), 1e-6);
}

TEST(KlLossTest, SurvivesLogitsThatAreFarApart) {
  Inputs inputs = RandomInputs().To(at::kFloat);
  inputs.student = inputs.student * 100;
  inputs.teacher = inputs.teacher * 100;
  const LossAndGradients chunked = ChunkedLoss(inputs, 1.0, 8);
  EXPECT_TRUE(chunked.loss.isfinite().item<bool>());
  EXPECT_TRUE(chunked.student.isfinite().all().item<bool>());
}

TEST(KlLossTest, InBfloat16StaysWithinItsRounding) {
  const Inputs inputs = RandomInputs().To(at::kBFloat16);
  const LossAndGradients plain = PlainLoss(inputs, 0.3);
  const LossAndGradients chunked = ChunkedLoss(inputs, 0.3, 8);
  EXPECT_EQ(chunked.student.scalar_type(), at::kBFloat16);
  EXPECT_LT(RelativeError(chunked.loss, plain.loss), 0.01);
  EXPECT_LT(RelativeError(chunked.student, plain.student), 0.02);
  EXPECT_LT(RelativeError(chunked.projection, plain.projection), 0.02);
}

TEST(KlLossTest, SumsOverManyChunksLoseNothingInBfloat16) {
  at::manual_seed(9);
  const auto random = [](int64_t rows, int64_t width) { return at::randn({rows, width}).to(at::kBFloat16); };
  const Inputs inputs{random(512, 12),
                      {random(50, 12), random(50, 1).flatten()},
                      random(512, 8),
                      {random(50, 8), random(50, 1).flatten()}};
  const LossAndGradients whole = ChunkedLoss(inputs, 0.3, 512);
  const LossAndGradients chunked = ChunkedLoss(inputs, 0.3, 1);
  // The result is rounded once, instead of once for each of 512 sums.
  EXPECT_LT(RelativeError(chunked.projection, whole.projection.to(at::kDouble)), 4e-3);
  EXPECT_LT(RelativeError(chunked.bias, whole.bias.to(at::kDouble)), 4e-3);
}

}  // namespace
}  // namespace regroup
