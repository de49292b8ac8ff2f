// Compares operators and their gradients with the equations in float64, computed by PyTorch's own operators.
#include "trainer/nn/fused_operators.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace regroup {
namespace {

using Tensors = std::vector<at::Tensor>;
using Operator = std::function<at::Tensor(const Tensors& inputs)>;

/// Returns the result and the gradients of a random sum of it.
Tensors ResultAndGradients(const Operator& run, Tensors inputs) {
  for (at::Tensor& input : inputs) input = input.detach().requires_grad_(true);
  const at::Tensor result = run(inputs);
  at::manual_seed(2);
  const at::Tensor factors = at::randn(result.sizes()).to(result.scalar_type());
  Tensors found = torch::autograd::grad({(result * factors).sum(at::kDouble)}, inputs);
  found.insert(found.begin(), result.detach());
  return found;
}

/// Compares `run` in a type with `equation` in float64; `tolerance` is relative to the largest entry.
void ExpectTheEquation(const Operator& run, const Operator& equation, const Tensors& inputs, at::ScalarType type,
                       double tolerance) {
  Tensors given, exact;
  for (const at::Tensor& input : inputs) {
    given.push_back(input.to(type));
    exact.push_back(given.back().to(at::kDouble));
  }
  const Tensors found = ResultAndGradients(run, given), expected = ResultAndGradients(equation, exact);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].scalar_type(), type);
    const double error = (found[i].to(at::kDouble) - expected[i]).abs().max().item<double>();
    EXPECT_LT(error, tolerance * expected[i].abs().max().item<double>()) << "tensor " << i;
  }
}

/// The type and the largest relative error.
class FusedOperatorsTest : public testing::TestWithParam<std::tuple<at::ScalarType, double>> {
 protected:
  void SetUp() override { at::manual_seed(7); }
  static void Expect(const Operator& run, const Operator& equation, const Tensors& inputs) {
    ExpectTheEquation(run, equation, inputs, std::get<0>(GetParam()), std::get<1>(GetParam()));
  }
};

INSTANTIATE_TEST_SUITE_P(Types, FusedOperatorsTest,
                         testing::Values(std::tuple(at::kFloat, 1e-5), std::tuple(at::kBFloat16, 2e-2),
                                         std::tuple(at::kDouble, 1e-10)),
                         [](const auto& info) { return std::string(c10::toString(std::get<0>(info.param))); });

at::Tensor NormByEquation(const Tensors& inputs) {
  return inputs[0] / at::sqrt(inputs[0].square().mean(-1, true) + 1e-3) * inputs[1];
}

TEST_P(FusedOperatorsTest, NormsAreThoseOfTheEquation) {
  const auto run = [](const Tensors& inputs) { return RmsNorm(inputs[0], inputs[1], 1e-3); };
  // Widths with and without whole vectors; more rows than are summed together.
  for (const int64_t width : {1, 7, 64, 100}) {
    Expect(run, NormByEquation, {at::randn({3, 50, width}), at::rand({width}) + 0.5});
  }
}

TEST_P(FusedOperatorsTest, NormsTakeRowsThatLieApart) {
  const auto transposed = [](const Operator& norm) {
    return [norm](const Tensors& inputs) { return norm({inputs[0].transpose(1, 2), inputs[1]}); };
  };
  Expect(transposed([](const Tensors& inputs) { return RmsNorm(inputs[0], inputs[1], 1e-3); }),
         transposed(NormByEquation), {at::randn({2, 5, 3, 16}), at::rand({16}) + 0.5});
}

RotaryTable Angles(int64_t tokens, int64_t pairs, at::ScalarType type, bool interleaved = false) {
  const at::Tensor angles = at::outer(at::arange(tokens, at::kDouble), at::rand({pairs}, at::kDouble));
  // They have the type that is tested, so that the equation has the same angles.
  return {angles.cos().to(type), angles.sin().to(type), interleaved};
}

/// Multiplies complex numbers.
at::Tensor RotationByEquation(const at::Tensor& x, const RotaryTable& table) {
  const int64_t pairs = table.cosine.size(1);
  const at::Tensor rotating = x.narrow(-1, 0, 2 * pairs);
  const at::Tensor real = table.interleaved ? rotating.slice(-1, 0, {}, 2) : rotating.narrow(-1, 0, pairs);
  const at::Tensor imaginary = table.interleaved ? rotating.slice(-1, 1, {}, 2) : rotating.narrow(-1, pairs, pairs);
  const at::Tensor turned =
      at::complex(real, imaginary) * at::complex(table.cosine.to(at::kDouble), table.sine.to(at::kDouble));
  const at::Tensor pair = at::view_as_real(turned);
  const at::Tensor joined =
      table.interleaved ? pair.flatten(-2) : at::cat({pair.select(-1, 0), pair.select(-1, 1)}, -1);
  return at::cat({joined, x.narrow(-1, 2 * pairs, x.size(-1) - 2 * pairs)}, -1);
}

TEST_P(FusedOperatorsTest, RotationsAreThoseOfTheEquation) {
  const at::ScalarType type = std::get<0>(GetParam());
  for (const bool interleaved : {false, true}) {
    for (const auto& [width, pairs] : {std::pair<int64_t, int64_t>(32, 16), {6, 3}, {20, 4}}) {
      const RotaryTable table = Angles(9, pairs, type, interleaved);
      Expect([&](const Tensors& inputs) { return RotatePairs(inputs[0], table); },
             [&](const Tensors& inputs) { return RotationByEquation(inputs[0], table); },
             {at::randn({2, 3, 9, width})});
    }
  }
}

TEST_P(FusedOperatorsTest, RotationsTakeHeadsThatLieSideBySide) {
  const RotaryTable table = Angles(5, 8, std::get<0>(GetParam()));
  const auto split = [](const Operator& rotate) {
    return [rotate](const Tensors& inputs) { return rotate({inputs[0].unflatten(-1, {3, 16}).transpose(1, 2)}); };
  };
  Expect(split([&](const Tensors& inputs) { return RotatePairs(inputs[0], table); }),
         split([&](const Tensors& inputs) { return RotationByEquation(inputs[0], table); }), {at::randn({2, 5, 48})});
}

TEST(FusedOperatorsThreadsTest, GiveTheSameBitsWithAnyNumberOfThreads) {
  at::manual_seed(3);
  const Tensors inputs = {at::randn({4, 200, 96}), at::rand({96})};
  const auto run = [](const Tensors& given) { return RmsNorm(given[0], given[1], 1e-5); };
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Tensors one = ResultAndGradients(run, inputs);
  at::set_num_threads(3);
  const Tensors three = ResultAndGradients(run, inputs);
  at::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
}

TEST(FusedOperatorsNanTest, NumbersThatAreNoneStaySo) {
  const at::Tensor x = at::full({1, 8}, std::numeric_limits<double>::quiet_NaN(), at::kBFloat16);
  EXPECT_TRUE(RmsNorm(x, at::ones({8}, at::kBFloat16), 1e-5).isnan().all().item<bool>());
}

}  // namespace
}  // namespace regroup
