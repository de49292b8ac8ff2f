#include "trainer/alignment/generalised_procrustes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>

#include "attention_cases.h"

namespace regroup {
namespace {

// Returns heads [s][tokens, w] that are rotated noisy copies of one another.
std::vector<at::Tensor> RelatedHeads(int64_t count, int64_t width, double noise, uint64_t seed) {
  const auto scale = at::linspace(0.2, 2.0, width, at::kDouble);
  const auto common = RandomNormal({300, width}, seed) * scale;
  std::vector<at::Tensor> heads;
  for (int64_t i = 0; i < count; ++i) {
    const auto own = common + noise * RandomNormal({300, width}, seed + 10 + i);
    heads.push_back(own.mm(RandomRotation(width, seed + 50 + i)));
  }
  return heads;
}

at::Tensor GramOf(const std::vector<at::Tensor>& heads) {
  const auto all = at::cat(heads, 1);
  const int64_t count = heads.size();
  return all.t().mm(all).view({count, -1, count, all.size(1) / count});
}

at::Tensor Polar(const at::Tensor& matrix) {
  const auto [u, s, vt] = at::linalg_svd(matrix);
  return u.mm(vt);
}

double MeanCosines(const std::vector<at::Tensor>& heads) {
  double sum = 0;
  for (size_t i = 0; i < heads.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      sum += ((heads[i] * heads[j]).sum(1) / (heads[i].norm(2, 1) * heads[j].norm(2, 1))).mean().item<double>();
    }
  }
  return sum;
}

// Runs the published iteration on activations: it aligns all heads to their mean until the cosines gain less than 1e-5.
double ObjectiveOfPublishedIteration(const std::vector<at::Tensor>& heads) {
  std::vector<at::Tensor> aligned = heads;
  for (size_t i = 1; i < heads.size(); ++i) aligned[i] = heads[i].mm(Polar(heads[i].t().mm(heads[0])));
  double cosines = MeanCosines(aligned);
  for (int iteration = 0; iteration < 100; ++iteration) {
    const auto mean = at::stack(aligned).mean(0);
    for (size_t i = 0; i < heads.size(); ++i) aligned[i] = heads[i].mm(Polar(heads[i].t().mm(mean)));
    const double now = MeanCosines(aligned);
    if (now - cosines < 1e-5) break;
    cosines = now;
  }
  double objective = 0;
  for (size_t i = 0; i < heads.size(); ++i) {
    for (size_t j = 0; j < i; ++j) objective += (aligned[i] * aligned[j]).sum().item<double>();
  }
  return objective;
}

double ObjectiveOf(const std::vector<at::Tensor>& heads, const at::Tensor& maps) {
  double objective = 0;
  for (size_t i = 0; i < heads.size(); ++i) {
    for (size_t j = 0; j < i; ++j) objective += (heads[i].mm(maps[i]) * heads[j].mm(maps[j])).sum().item<double>();
  }
  return objective;
}

// The iteration ends when a sweep gains less than 1e-5 of the objective; with its momentum it stays within 1e-6.
TEST(GeneralisedProcrustes, IsNeverBelowThePublishedIterationByMoreThanItsLastSweepCouldGain) {
  for (const int64_t count : {2, 3, 4, 8}) {
    for (const double noise : {0.3, 2.0, 20.0}) {
      for (uint64_t seed = 0; seed < 4; ++seed) {
        const auto heads = RelatedHeads(count, 6, noise, 1000 * seed);
        const auto found = AlignByRotations(GramOf(heads));
        const double published = ObjectiveOfPublishedIteration(heads);
        EXPECT_GE(found.objective, published * (1 - 1e-6)) << count << " heads, noise " << noise << ", seed " << seed;
        EXPECT_NEAR(found.objective, ObjectiveOf(heads, found.maps), 1e-9 * found.objective);
      }
    }
  }
}

TEST(GeneralisedProcrustes, MapsAreOrthogonal) {
  const auto found = AlignByRotations(GramOf(RelatedHeads(4, 6, 1.0, 3)));
  const auto products = found.maps.transpose(1, 2).bmm(found.maps);
  EXPECT_LT((products - at::eye(6, at::kDouble)).abs().max().item<double>(), 1e-12);
}

TEST(GeneralisedProcrustes, RotatedCopiesBecomeEqual) {
  const auto heads = RelatedHeads(5, 6, 0.0, 4);
  const auto maps = AlignByRotations(GramOf(heads)).maps;
  for (int i = 1; i < 5; ++i) {
    EXPECT_LT((heads[i].mm(maps[i]) - heads[0].mm(maps[0])).abs().max().item<double>(), 1e-6);
  }
}

TEST(GeneralisedProcrustes, PhasesReachTheBestOfAFineGrid) {
  using Complex = std::complex<double>;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const auto z = at::view_as_complex(RandomNormal({50, 3, 2}, seed));
    const auto gram = z.conj().t().mm(z).unsqueeze(0);
    const auto found = AlignByPhases(gram);
    const auto entry = [&](int a, int b) {
      const auto value = gram[0][a][b].item<c10::complex<double>>();
      return Complex(value.real(), value.imag());
    };
    const Complex first_second = entry(0, 1);
    const Complex first_third = entry(0, 2);
    const Complex second_third = entry(1, 2);
    double best = -1e300;
    for (int a = 0; a < 720; ++a) {
      for (int b = 0; b < 720; ++b) {
        const Complex c1 = std::polar(1.0, a * M_PI / 360);
        const Complex c2 = std::polar(1.0, b * M_PI / 360);
        best = std::max(best, std::real(first_second * c1 + first_third * c2 + std::conj(c1) * second_third * c2));
      }
    }
    EXPECT_GE(found.objective, best - 1e-9);
    EXPECT_LE(found.objective, best * 1.001 + 0.1);
    EXPECT_LT((found.maps.abs() - 1).abs().max().item<double>(), 1e-12);
  }
}

TEST(GeneralisedProcrustes, PhaseOfTwoHeadsIsTheRotationThatATwoByTwoDecompositionFinds) {
  const auto a = RandomNormal({40, 2}, 1);
  const auto b = RandomNormal({40, 2}, 2) + a;
  const auto complex = [](const at::Tensor& head) { return at::view_as_complex(head.contiguous()); };
  const auto z = at::stack({complex(a), complex(b)}, 1);
  const auto maps = AlignByPhases(z.conj().t().mm(z).unsqueeze(0)).maps.squeeze(1);
  auto [u, s, vt] = at::linalg_svd(b.t().mm(a));
  if (at::linalg_det(u.mm(vt)).item<double>() < 0) u.select(1, 1).neg_();
  const auto expected = b.mm(u.mm(vt));  // b rotated towards a
  const auto turned = at::view_as_real((complex(b) * maps[1] * maps[0].conj()).resolve_conj());
  EXPECT_LT((turned - expected).abs().max().item<double>(), 1e-10);
}

TEST(GeneralisedProcrustes, HeadsWithoutEnergyKeepDefinedMaps) {
  const auto zero = AlignByRotations(at::zeros({3, 4, 3, 4}, at::kDouble));
  EXPECT_LT((zero.maps.bmm(zero.maps.transpose(1, 2)) - at::eye(4, at::kDouble)).abs().max().item<double>(), 1e-12);
  const auto phases = AlignByPhases(at::zeros({2, 3, 3}, at::kComplexDouble));
  EXPECT_LT((phases.maps.abs() - 1).abs().max().item<double>(), 1e-12);
}

}  // namespace
}  // namespace regroup
