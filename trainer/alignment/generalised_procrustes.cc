#include "trainer/alignment/generalised_procrustes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <utility>
#include <vector>

namespace regroup {
namespace {

constexpr double kRelativeGain = 1e-5;
constexpr double kRoughGain = 1e-4;  // enough to see which start is better
constexpr double kPhaseGain = 1e-9;  // phases cost next to nothing
constexpr int64_t kMostSweeps = 2000;

// Returns U V^T of matrix = U S V^T.
at::Tensor RotationByDecomposition(const at::Tensor& matrix) {
  const auto [u, s, vt] = at::linalg_svd(matrix, /*full_matrices=*/false);
  return u.mm(vt);
}

// Limits the ratio of eigenvalues of M^T M to singular values down to 1e-4 of the largest.
constexpr double kSmallestRatio = 1e-8;

// Returns the orthogonal matrix nearest to `matrix`. The eigenvectors of M^T M take half as long as singular values but
// square the condition: if that would cost more than half of the digits, singular values are used. One step of Newton
// and Schulz brings the result back to full precision.
at::Tensor NearestRotation(const at::Tensor& matrix) {
  const auto [values, vectors] = at::linalg_eigh(matrix.t().mm(matrix));
  const double largest = values[-1].item<double>();
  if (!(largest > 0) || values[0].item<double>() < kSmallestRatio * largest) {
    return RotationByDecomposition(matrix);
  }
  const auto rough = matrix.mm((vectors * values.rsqrt()).mm(vectors.t()));
  return 1.5 * rough - 0.5 * rough.mm(rough.t().mm(rough));
}

class RotationProblem {
 public:
  explicit RotationProblem(const at::Tensor& gram)
      : count_(gram.size(0)),
        width_(gram.size(1)),
        gram_(gram.reshape({count_ * width_, count_ * width_}).contiguous()) {}

  ProcrustesMaps Measure(const at::Tensor& maps) const {
    return {maps.view({count_, width_, width_}), Objective(maps), 0};
  }

  // Sweeps until one gains less than `relative_gain`, with momentum: a sweep uses the extrapolated maps of the other
  // heads, maps + b (maps - previous), which takes several times fewer sweeps. A sweep that lowers the objective is
  // undone and the momentum dropped, so the objective never falls; only a sweep without momentum may end the iteration.
  ProcrustesMaps Ascend(ProcrustesMaps from, double relative_gain) const {
    auto maps = from.maps.reshape({count_ * width_, width_});
    auto previous = maps;
    double objective = from.objective;
    for (int64_t momentum = 0; from.sweeps < kMostSweeps;) {
      const double share = static_cast<double>(momentum) / static_cast<double>(momentum + 3);
      const auto [candidate, reached] = Sweep(maps + share * (maps - previous), maps);
      const double gain = reached - objective;
      ++from.sweeps;
      if (momentum == 0 && gain <= relative_gain * std::abs(objective)) {
        if (gain > 0) maps = candidate;
        break;
      }
      momentum = gain > relative_gain * std::abs(objective) ? momentum + 1 : 0;
      if (gain < 0) continue;
      previous = maps;
      maps = candidate;
      objective += gain;
    }
    const int64_t sweeps = from.sweeps;
    from = Measure(maps);
    from.sweeps = sweeps;
    return from;
  }

  // These return the starts, as [s w, w].
  at::Tensor AlignedToFirst() const {
    std::vector<at::Tensor> maps = {at::eye(width_, gram_.options())};
    for (int64_t i = 1; i < count_; ++i) maps.push_back(NearestRotation(Block(i, 0)));
    return at::cat(maps);
  }

  at::Tensor LeadingDirections() const {
    const auto [values, vectors] = at::linalg_eigh(gram_);
    const auto leading = vectors.narrow(1, (count_ - 1) * width_, width_);
    std::vector<at::Tensor> maps;
    for (int64_t i = 0; i < count_; ++i) maps.push_back(NearestRotation(Rows(leading, i)));
    return at::cat(maps);
  }

 private:
  at::Tensor Rows(const at::Tensor& stacked, int64_t i) const { return stacked.narrow(0, i * width_, width_); }
  at::Tensor Block(int64_t i, int64_t j) const { return Rows(gram_, i).narrow(1, j * width_, width_); }

  // Gives each head in turn the best map against the others in `seen`, and stores it there. Returns the maps and their
  // objective: the inner products of each head with those before it.
  //
  // A little of the head's previous map is added to its pull, in proportion to the norm, which bounds the largest
  // singular value. The objective still never falls, and directions without energy, where the best map is undefined,
  // stay as they were, so that no singular values are needed.
  std::pair<at::Tensor, double> Sweep(at::Tensor seen, const at::Tensor& maps) const {
    const double share = 1.5 * std::sqrt(kSmallestRatio);
    double objective = 0;
    for (int64_t i = 0; i < count_; ++i) {
      const auto before = Pull(seen, i, 0, i);
      const auto pull = before + Pull(seen, i, i + 1, count_);
      const auto map = NearestRotation(pull + share * pull.norm() * Rows(maps, i));
      objective += before.mul(map).sum().item<double>();
      Rows(seen, i).copy_(map);
    }
    return {seen, objective};
  }

  // Returns the sum of G_ij Q_j over the heads j from `first` to before `last`.
  at::Tensor Pull(const at::Tensor& stacked, int64_t i, int64_t first, int64_t last) const {
    const int64_t rows = (last - first) * width_;
    return Rows(gram_, i).narrow(1, first * width_, rows).mm(stacked.narrow(0, first * width_, rows));
  }

  double Objective(const at::Tensor& stacked) const {
    const double all = (gram_.mm(stacked) * stacked).sum().item<double>();
    return 0.5 * (all - gram_.trace().item<double>());
  }

  int64_t count_;
  int64_t width_;
  at::Tensor gram_;
};

using Complex = std::complex<double>;

Complex Phase(Complex z) {
  const double modulus = std::abs(z);
  return modulus > 0 ? z / modulus : Complex(1);
}

// Aligns one rotary pair of a group; the Gram is a view of [s, s] numbers, row by row.
class PhaseProblem {
 public:
  PhaseProblem(const Complex* gram, int64_t count) : gram_(gram), count_(count) {}

  int64_t Ascend(std::vector<Complex>& phases) const {
    double previous = Objective(phases);
    for (int64_t sweep = 1; sweep <= kMostSweeps; ++sweep) {
      for (int64_t i = 0; i < count_; ++i) phases[i] = Phase(Pull(phases, i));
      const double now = Objective(phases);
      if (now - previous <= kPhaseGain * std::abs(now)) return sweep;
      previous = now;
    }
    return kMostSweeps;
  }

  std::vector<Complex> AlignedToFirst() const {
    std::vector<Complex> phases(count_, 1);
    for (int64_t i = 1; i < count_; ++i) phases[i] = Phase(gram_[i * count_]);
    return phases;
  }

  double Objective(const std::vector<Complex>& phases) const {
    double sum = 0;
    for (int64_t i = 0; i < count_; ++i) sum += std::real(std::conj(phases[i]) * Pull(phases, i));
    return 0.5 * sum;
  }

 private:
  Complex Pull(const std::vector<Complex>& phases, int64_t i) const {
    Complex sum = 0;
    for (int64_t j = 0; j < count_; ++j) {
      if (j != i) sum += gram_[i * count_ + j] * phases[j];
    }
    return sum;
  }

  const Complex* gram_;
  int64_t count_;
};

std::vector<Complex> PhasesOf(const at::Tensor& vector) {
  const auto* entries = reinterpret_cast<const Complex*>(vector.const_data_ptr<c10::complex<double>>());
  std::vector<Complex> phases(vector.numel());
  std::transform(entries, entries + vector.numel(), phases.begin(), Phase);
  return phases;
}

}  // namespace

ProcrustesMaps AlignByRotations(const at::Tensor& gram) {
  const int64_t count = gram.size(0);
  if (gram.size(1) == 0 || count == 1) {
    return {at::eye(gram.size(1), gram.options()).repeat({count, 1, 1}), 0, 0};
  }
  const RotationProblem problem(gram);
  const auto from_first = problem.Measure(problem.AlignedToFirst());
  if (count == 2) return from_first;
  const auto first = problem.Ascend(from_first, kRoughGain);
  const auto leading = problem.Ascend(problem.Measure(problem.LeadingDirections()), kRoughGain);
  return problem.Ascend(first.objective > leading.objective ? first : leading, kRelativeGain);
}

ProcrustesMaps AlignByPhases(const at::Tensor& gram) {
  const int64_t pairs = gram.size(0);
  const int64_t count = gram.size(1);
  const auto contiguous = gram.contiguous();
  const auto vectors = at::linalg_eigh(contiguous);
  const auto leading = std::get<1>(vectors).select(2, count - 1).contiguous();  // [pairs, s]
  const auto* entries = reinterpret_cast<const Complex*>(contiguous.const_data_ptr<c10::complex<double>>());
  ProcrustesMaps result;
  result.maps = at::empty({count, pairs}, gram.options());
  for (int64_t t = 0; t < pairs; ++t) {
    const PhaseProblem problem(entries + t * count * count, count);
    auto phases = problem.AlignedToFirst();
    auto others = PhasesOf(leading[t]);
    result.sweeps = std::max({result.sweeps, problem.Ascend(phases), problem.Ascend(others)});
    if (problem.Objective(others) > problem.Objective(phases)) phases = std::move(others);
    result.objective += problem.Objective(phases);
    for (int64_t i = 0; i < count; ++i) result.maps[i][t] = c10::complex<double>(phases[i].real(), phases[i].imag());
  }
  return result;
}

}  // namespace regroup
