#include "trainer/distill/attention_map_loss.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace regroup {
namespace {

constexpr int64_t kSequences = 3, kHeads = 4, kTokens = 11, kWidth = 6;
constexpr double kWeight = 0.7, kScale = 0.4;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

enum class Mask { kNone, kCausal, kBiasPerHead, kWindow };

struct Case {
  const char* name;
  int64_t kv_heads = kHeads;
  int64_t teacher_kv_heads = kHeads;
  Mask mask = Mask::kCausal;
  /// Tokens that keys and values are of; the cross attention of a decoder reads another number than it has.
  int64_t read = kTokens;
  double soft_cap = 0;
};

at::Tensor Later(int64_t tokens) { return at::ones({tokens, tokens}, at::kBool).triu(1); }

at::Tensor BiasOf(Mask mask) {
  const at::TensorOptions wide(at::kDouble);
  if (mask == Mask::kBiasPerHead) {
    return (2.0 * at::randn({1, kHeads, kTokens, kTokens}, wide)).masked_fill(Later(kTokens), -kInfinity);
  }
  if (mask == Mask::kWindow) {
    const at::Tensor far = at::ones({kTokens, kTokens}, at::kBool).tril(-4);
    return at::zeros({1, 1, kTokens, kTokens}, wide).masked_fill(Later(kTokens).logical_or(far), -kInfinity);
  }
  return {};
}

AttentionHeads RandomHeads(const Case& one, int64_t kv_heads, double scale) {
  const at::TensorOptions wide(at::kDouble);
  return {.query = at::randn({kSequences, kHeads, kTokens, kWidth}, wide),
          .key = at::randn({kSequences, kv_heads, one.read, kWidth}, wide),
          .value = at::randn({kSequences, kv_heads, one.read, kWidth}, wide),
          .bias = BiasOf(one.mask),
          .causal = one.mask == Mask::kCausal,
          .scale = scale,
          .soft_cap = one.soft_cap};
}

struct Inputs {
  AttentionHeads student, teacher;
  /// Upstream gradient of the attended values.
  at::Tensor upstream;
};

Inputs RandomInputs(const Case& one) {
  at::manual_seed(3);
  return {RandomHeads(one, one.kv_heads, kScale), RandomHeads(one, one.teacher_kv_heads, 1.5 * kScale),
          at::randn({kSequences, kHeads, kTokens, kWidth}, at::kDouble)};
}

AttentionHeads To(AttentionHeads heads, at::ScalarType dtype) {
  for (at::Tensor* tensor : {&heads.query, &heads.key, &heads.value}) *tensor = tensor->detach().to(dtype);
  return heads;
}

/// Returns the heads with leaves of their own for the gradients.
AttentionHeads Trainable(AttentionHeads heads) {
  for (at::Tensor* tensor : {&heads.query, &heads.key, &heads.value}) {
    *tensor = tensor->detach().clone().set_requires_grad(true);
  }
  return heads;
}

struct Results {
  at::Tensor attended, divergence, query, key, value;

  std::vector<at::Tensor> All() const { return {attended, divergence, query, key, value}; }
};

/// Differentiates <upstream, attended> + share x divergence.
Results Differentiated(const AttentionHeads& student, const ComparedAttention& compared, const at::Tensor& upstream,
                       double share) {
  at::Tensor loss = share * compared.divergence;
  if (upstream.defined()) loss = loss + (compared.attended * upstream).sum();
  loss.backward();
  const auto gradient = [](const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  };
  return {compared.attended.detach(), compared.divergence.detach(), gradient(student.query), gradient(student.key),
          gradient(student.value)};
}

Results Ours(const AttentionHeads& given, const AttentionHeads& teacher, const at::Tensor& upstream, double share) {
  const AttentionHeads student = Trainable(given);
  return Differentiated(student, AttendAndCompare(student, teacher, kWeight), upstream, share);
}

at::Tensor ForEveryQueryHead(const at::Tensor& kv) { return kv.repeat_interleave(kHeads / kv.size(1), 1); }

/// Returns log-probabilities [B, H, T, tokens read], minus infinity where a token may not attend.
at::Tensor LogProbabilities(const AttentionHeads& heads) {
  at::Tensor logits = at::matmul(heads.query, ForEveryQueryHead(heads.key).transpose(2, 3)) * heads.scale;
  if (heads.soft_cap > 0) logits = heads.soft_cap * at::tanh(logits / heads.soft_cap);
  if (heads.bias.defined()) logits = logits + heads.bias;
  if (heads.causal) logits = logits.masked_fill(Later(kTokens), -kInfinity);
  return at::log_softmax(logits, -1);
}

/// Computes both results by their definitions, in float64, differentiated by autograd.
Results Plain(const AttentionHeads& given, const AttentionHeads& given_teacher, const at::Tensor& upstream,
              double share) {
  const AttentionHeads student = Trainable(To(given, at::kDouble)), teacher = To(given_teacher, at::kDouble);
  const at::Tensor log_q = LogProbabilities(student), log_p = LogProbabilities(teacher);
  const at::Tensor hidden = log_p.isinf();
  const at::Tensor difference = log_p.masked_fill(hidden, 0) - log_q.masked_fill(hidden, 0);
  const ComparedAttention compared{.attended = at::matmul(log_q.exp(), ForEveryQueryHead(student.value)),
                                   .divergence = kWeight * (log_p.exp() * difference).sum()};
  return Differentiated(student, compared, upstream.defined() ? upstream.to(at::kDouble) : upstream, share);
}

/// Compares each tensor with the other's, relative to its largest entry.
void ExpectNear(const Results& ours, const Results& expected, double tolerance) {
  const char* const names[] = {"attended", "divergence", "query", "key", "value"};
  for (size_t i = 0; i < 5; ++i) {
    const at::Tensor found = ours.All()[i].to(at::kDouble), wanted = expected.All()[i];
    ASSERT_EQ(found.sizes(), wanted.sizes()) << names[i];
    EXPECT_LE((found - wanted).abs().max().item<double>(), tolerance * wanted.abs().max().item<double>()) << names[i];
  }
}

class AttendAndCompareTest : public testing::TestWithParam<Case> {
 protected:
  const Inputs inputs_ = RandomInputs(GetParam());
};

TEST_P(AttendAndCompareTest, GivesTheValuesAndGradientsOfTheDefinition) {
  const Results expected = Plain(inputs_.student, inputs_.teacher, inputs_.upstream, 1.7);
  // The softmax is computed in float32 whatever the type of the heads.
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const Results ours = Ours(To(inputs_.student, dtype), To(inputs_.teacher, dtype), inputs_.upstream.to(dtype), 1.7);
    EXPECT_EQ(ours.attended.scalar_type(), dtype);
    EXPECT_EQ(ours.key.scalar_type(), dtype);
    EXPECT_EQ(ours.divergence.scalar_type(), at::kFloat);
    ExpectNear(ours, expected, 5e-6);
  }
}

TEST_P(AttendAndCompareTest, EitherResultMayHaveNoGradient) {
  const AttentionHeads student = To(inputs_.student, at::kFloat), teacher = To(inputs_.teacher, at::kFloat);
  const at::Tensor upstream = inputs_.upstream.to(at::kFloat);
  ExpectNear(Ours(student, teacher, upstream, 0), Plain(inputs_.student, inputs_.teacher, inputs_.upstream, 0), 5e-6);
  const Results divergence_alone = Ours(student, teacher, {}, 1);
  EXPECT_EQ(divergence_alone.value.count_nonzero().item<int64_t>(), 0);
  ExpectNear(divergence_alone, Plain(inputs_.student, inputs_.teacher, {}, 1), 5e-6);
}

TEST_P(AttendAndCompareTest, RoundsNoMoreThanBfloat16Does) {
  const AttentionHeads student = To(inputs_.student, at::kBFloat16), teacher = To(inputs_.teacher, at::kBFloat16);
  const at::Tensor upstream = inputs_.upstream.to(at::kBFloat16);
  const Results ours = Ours(student, teacher, upstream, 1.7);
  EXPECT_EQ(ours.attended.scalar_type(), at::kBFloat16);
  ExpectNear(ours, Plain(student, teacher, upstream, 1.7), 2e-2);
}

TEST_P(AttendAndCompareTest, AnyNumberOfThreadsGivesTheSameBits) {
  const AttentionHeads student = To(inputs_.student, at::kFloat), teacher = To(inputs_.teacher, at::kFloat);
  const auto with_threads = [&](int threads) {
    at::set_num_threads(threads);
    return Ours(student, teacher, inputs_.upstream.to(at::kFloat), 1.7).All();
  };
  const int before = at::get_num_threads();
  const std::vector<at::Tensor> one = with_threads(1), two = with_threads(2), five = with_threads(5);
  at::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(at::equal(one[i], two[i])) << i;
    EXPECT_TRUE(at::equal(one[i], five[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, AttendAndCompareTest,
                         testing::Values(Case{"EqualHeads"}, Case{"TwoKvHeads", 2, 4}, Case{"OneKvHead", 1, 4},
                                         Case{"TeacherOfFewerKvHeads", 1, 2},
                                         Case{"BiasPerHead", 2, 4, Mask::kBiasPerHead},
                                         Case{"SlidingWindow", 2, 2, Mask::kWindow}, Case{"Encoder", 2, 4, Mask::kNone},
                                         Case{"CrossAttention", 1, 4, Mask::kNone, 7},
                                         Case{"SoftCap", 2, 4, Mask::kCausal, kTokens, 0.8}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(AttendAndCompareOfEqualsTest, AStudentLikeItsTeacherDoesNotDiverge) {
  const Inputs inputs = RandomInputs({.name = ""});
  const AttentionHeads same = To(inputs.teacher, at::kFloat);
  const Results results = Ours(same, same, {}, 1);
  EXPECT_EQ(results.divergence.item<double>(), 0);
  for (const at::Tensor& gradient : {results.query, results.key, results.value}) {
    EXPECT_EQ(gradient.count_nonzero().item<int64_t>(), 0);
  }
}

class AttendAndCompareMaskTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  /// Compares heads of this type under a mask [T, tokens read].
  Results UnderMask(const at::Tensor& mask) const {
    const Inputs inputs = RandomInputs({.name = "", .kv_heads = 2, .mask = Mask::kNone});
    AttentionHeads student = To(inputs.student, GetParam()), teacher = To(inputs.teacher, GetParam());
    student.bias = teacher.bias = mask.view({1, 1, kTokens, kTokens});
    return Ours(student, teacher, inputs.upstream.to(GetParam()), 1.7);
  }
};

TEST_P(AttendAndCompareMaskTest, QueriesThatMayReadNothingGiveNumbers) {
  at::Tensor mask = at::zeros({kTokens, kTokens});
  mask.narrow(0, 0, 5).fill_(-kInfinity);
  const Results results = UnderMask(mask);
  for (const at::Tensor& result : results.All()) EXPECT_TRUE(result.isfinite().all().item<bool>());
  EXPECT_GT(results.query.narrow(2, 5, kTokens - 5).abs().max().item<double>(), 0);
}

TEST_P(AttendAndCompareMaskTest, TokensThatNoQueryMayReadGetNoGradient) {
  at::Tensor mask = at::zeros({kTokens, kTokens});
  mask.narrow(1, kTokens - 3, 3).fill_(-kInfinity);
  const Results results = UnderMask(mask);
  for (const at::Tensor& result : results.All()) EXPECT_TRUE(result.isfinite().all().item<bool>());
  for (const at::Tensor& gradient : {results.key, results.value}) {
    EXPECT_EQ(gradient.narrow(2, kTokens - 3, 3).count_nonzero().item<int64_t>(), 0);
    EXPECT_GT(gradient.narrow(2, 0, kTokens - 3).abs().min().item<double>(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, AttendAndCompareMaskTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

TEST(AttendAndCompareOfEqualsTest, TheLowestNumberMasksLikeMinusInfinity) {
  const Inputs inputs = RandomInputs({.name = "", .kv_heads = 2, .mask = Mask::kWindow});
  AttentionHeads student = To(inputs.student, at::kFloat), teacher = To(inputs.teacher, at::kFloat);
  const Results expected = Ours(student, teacher, inputs.upstream.to(at::kFloat), 1.7);
  student.bias = student.bias.to(at::kFloat).clamp_min(std::numeric_limits<float>::lowest());
  teacher.bias = student.bias;
  const Results results = Ours(student, teacher, inputs.upstream.to(at::kFloat), 1.7);
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(at::equal(results.All()[i], expected.All()[i])) << i;
}

}  // namespace
}  // namespace regroup
