#include "trainer/nn/rotary.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <vector>

namespace regroup {
namespace {

RotaryConfig Config(int64_t width, bool interleaved) {
  RotaryConfig config{.width = width, .interleaved = interleaved};
  for (int64_t pair = 0; pair < width / 2; ++pair) {
    config.inverse_frequencies.push_back(
        std::pow(100.0, -2.0 * static_cast<double>(pair) / static_cast<double>(width)));
  }
  return config;
}

at::Tensor RandomHeads(int64_t width) {
  at::manual_seed(3);
  return at::randn({2, 3, 11, width}, at::kDouble);
}

/// Treats each pair as one complex number and multiplies it by exp(i position frequency).
at::Tensor TurnByComplexNumbers(const at::Tensor& x, const RotaryConfig& config) {
  at::Tensor result = x.clone();
  const int64_t pairs = config.width / 2;
  for (int64_t sequence = 0; sequence < x.size(0); ++sequence) {
    for (int64_t head = 0; head < x.size(1); ++head) {
      const at::Tensor from = x[sequence][head];
      const at::Tensor to = result[sequence][head];
      const auto in = from.accessor<double, 2>();
      auto out = to.accessor<double, 2>();
      for (int64_t position = 0; position < x.size(2); ++position) {
        for (int64_t pair = 0; pair < pairs; ++pair) {
          const int64_t first = config.interleaved ? 2 * pair : pair;
          const int64_t second = config.interleaved ? 2 * pair + 1 : pair + pairs;
          const double angle = static_cast<double>(position) * config.inverse_frequencies[pair];
          const std::complex<double> turned =
              std::complex<double>(in[position][first], in[position][second]) * std::polar(1.0, angle);
          out[position][first] = turned.real();
          out[position][second] = turned.imag();
        }
      }
    }
  }
  return result;
}

struct RotaryCase {
  const char* name;
  int64_t head_width;
  int64_t rotary_width;
  bool interleaved;
};

class RotaryTest : public testing::TestWithParam<RotaryCase> {};

TEST_P(RotaryTest, TurnsEachPairLikeAComplexNumber) {
  const RotaryCase& setting = GetParam();
  const RotaryConfig config = Config(setting.rotary_width, setting.interleaved);
  const at::Tensor x = RandomHeads(setting.head_width);
  const at::Tensor turned = ApplyRotary(x, MakeRotaryTable(config, 16, at::kCPU));
  // The table is rounded to float32.
  EXPECT_LT((turned - TurnByComplexNumbers(x, config)).abs().max().item<double>(), 1e-6);
}

TEST_P(RotaryTest, LeavesTheEntriesBeyondItsWidthAlone) {
  const RotaryCase& setting = GetParam();
  const RotaryConfig config = Config(setting.rotary_width, setting.interleaved);
  const at::Tensor x = RandomHeads(setting.head_width);
  const at::Tensor turned = ApplyRotary(x, MakeRotaryTable(config, 11, at::kCPU));
  const int64_t rest = setting.head_width - setting.rotary_width;
  EXPECT_TRUE(at::equal(turned.narrow(-1, setting.rotary_width, rest), x.narrow(-1, setting.rotary_width, rest)));
}

TEST_P(RotaryTest, MakesScoresDependOnTheDistanceOnly) {
  const RotaryCase& setting = GetParam();
  const RotaryConfig config = Config(setting.rotary_width, setting.interleaved);
  const RotaryTable table = MakeRotaryTable(config, 11, at::kCPU);
  const at::Tensor same_everywhere = RandomHeads(setting.head_width).narrow(2, 0, 1).expand({2, 3, 11, -1});
  const at::Tensor turned = ApplyRotary(same_everywhere.contiguous(), table);
  const at::Tensor scores = turned.matmul(turned.transpose(-1, -2));
  EXPECT_LT(
      (scores.narrow(2, 0, 10).narrow(3, 0, 10) - scores.narrow(2, 1, 10).narrow(3, 1, 10)).abs().max().item<double>(),
      1e-5);
}

INSTANTIATE_TEST_SUITE_P(Layouts, RotaryTest,
                         testing::Values(RotaryCase{"HalfSplit", 8, 8, false}, RotaryCase{"Interleaved", 8, 8, true},
                                         RotaryCase{"PartialHalfSplit", 10, 6, false},
                                         RotaryCase{"PartialInterleaved", 10, 6, true}),
                         [](const auto& info) { return info.param.name; });

TEST(RotaryTableTest, ComputesAnglesInDoublePrecision) {
  RotaryConfig config{.width = 2, .inverse_frequencies = {1.0 / 3.0}};
  const RotaryTable table = MakeRotaryTable(config, 200001, at::kCPU);
  // In float32 the angle itself would have an error of 0.004.
  EXPECT_NEAR(table.cosine[200000][0].item<double>(), std::cos(200000.0 / 3.0), 1e-6);
  EXPECT_NEAR(table.sine[200000][0].item<double>(), std::sin(200000.0 / 3.0), 1e-6);
}

TEST(RotaryTableTest, LongSequencesHaveFrequenciesOfTheirOwn) {
  const RotaryConfig config{
      .width = 2, .inverse_frequencies = {0.5}, .long_inverse_frequencies = {0.25}, .short_positions = 8};
  EXPECT_NEAR(MakeRotaryTable(config, 8, at::kCPU).sine[3][0].item<double>(), std::sin(1.5), 1e-6);
  EXPECT_NEAR(MakeRotaryTable(config, 9, at::kCPU).sine[3][0].item<double>(), std::sin(0.75), 1e-6);
}

TEST(RotaryTableTest, WithoutRotationNothingChanges) {
  const at::Tensor x = RandomHeads(4);
  EXPECT_TRUE(at::equal(ApplyRotary(x, MakeRotaryTable(RotaryConfig{}, 11, at::kCPU)), x));
}

}  // namespace
}  // namespace regroup
