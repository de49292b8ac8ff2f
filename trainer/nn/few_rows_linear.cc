#include "trainer/nn/few_rows_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "trainer/nn/processor_targets.h"

namespace regroup {
namespace {

constexpr int64_t kMostRows = 16;

/// Entries of x that are used for all outputs before the next ones, so that x stays in the second-level cache.
constexpr int64_t kEntriesAtOnce = 1024;

using LaneNumbers = std::make_integer_sequence<int, kLanes>;

/// The lower (Upper = 0) or upper halves of all groups of `Group` lanes of a and b, in order: one shuffle.
template <int Group, int Upper, int... Lane>
REGROUP_INLINE void TakeHalves(const Lanes& a, const Lanes& b, std::integer_sequence<int, Lane...>, Lanes* halves) {
  *halves = __builtin_shufflevector(a, b, (Lane / (Group / 2) * Group + Lane % (Group / 2) + Upper * (Group / 2))...);
}

/// Halves `count` vectors: each group of lanes is folded onto its lower half, and two vectors become one.
template <int Group>
REGROUP_INLINE void FoldPairs(Lanes* vectors, int count) {
  for (int i = 0; i < count / 2; ++i) {
    Lanes lower, upper;
    TakeHalves<Group, 0>(vectors[2 * i], vectors[2 * i + 1], LaneNumbers(), &lower);
    TakeHalves<Group, 1>(vectors[2 * i], vectors[2 * i + 1], LaneNumbers(), &upper);
    vectors[i] = lower + upper;
  }
}

/// Lane i of vectors[0] becomes the sum over the lanes of vectors[i].
REGROUP_INLINE void SumAcross(Lanes* vectors) {
  FoldPairs<16>(vectors, 16);
  FoldPairs<8>(vectors, 8);
  FoldPairs<4>(vectors, 4);
  FoldPairs<2>(vectors, 2);
}

/// Rows of the weight between what is multiplied and what is fetched from memory meanwhile.
constexpr int64_t kRowsAhead = 8;

/// Adds to y the dot products of `entries` entries of `Rows` rows of x with `Outputs` rows of the weight. Asks for the
/// same entries of `Fetched` rows from `ahead` on, which are wanted soon; addresses beyond the end do no harm.
template <int Outputs, int Rows, int Fetched>
REGROUP_INLINE void MultiplyTile(const float* x, const float* weight, const float* ahead, int64_t width,
                                 int64_t entries, float* y, int64_t outputs) {
  // Row by row; unused ones stay zero.
  Lanes sums[16] = {};
  for (int64_t entry = 0; entry < entries; entry += kLanes) {
    for (int o = 0; o < Fetched; ++o) __builtin_prefetch(ahead + o * width + entry, 0, 2);
    Lanes columns[Outputs];
    for (int o = 0; o < Outputs; ++o) columns[o] = *reinterpret_cast<const Lanes*>(weight + o * width + entry);
    for (int r = 0; r < Rows; ++r) {
      const Lanes row = *reinterpret_cast<const Lanes*>(x + r * width + entry);
      for (int o = 0; o < Outputs; ++o) sums[r * Outputs + o] += row * columns[o];
    }
  }
  SumAcross(sums);
  for (int r = 0; r < Rows; ++r) {
    for (int o = 0; o < Outputs; ++o) y[r * outputs + o] += sums[0][r * Outputs + o];
  }
}

/// All rows of x, four at a time; the first passes share the fetching of what comes next.
template <int Outputs>
REGROUP_INLINE void MultiplyRows(const float* x, int64_t rows, const float* weight, int64_t width, int64_t entries,
                                 float* y, int64_t outputs) {
  const float* const ahead = weight + kRowsAhead * width;
  int64_t r = 0;
  const auto x_at = [&](int64_t row) { return x + row * width; };
  const auto y_at = [&](int64_t row) { return y + row * outputs; };
  if (rows >= 8) {
    MultiplyTile<Outputs, 4, 2>(x_at(0), weight, ahead, width, entries, y_at(0), outputs);
    MultiplyTile<Outputs, 4, 2>(x_at(4), weight, ahead + 2 * width, width, entries, y_at(4), outputs);
    r = 8;
  } else if (rows >= 4) {
    MultiplyTile<Outputs, 4, 4>(x_at(0), weight, ahead, width, entries, y_at(0), outputs);
    r = 4;
  } else {
    MultiplyTile<Outputs, 1, 4>(x_at(0), weight, ahead, width, entries, y_at(0), outputs);
    r = 1;
  }
  for (; r + 4 <= rows; r += 4) MultiplyTile<Outputs, 4, 0>(x_at(r), weight, ahead, width, entries, y_at(r), outputs);
  for (; r < rows; ++r) MultiplyTile<Outputs, 1, 0>(x_at(r), weight, ahead, width, entries, y_at(r), outputs);
}

/// Adds to columns [first, last) of y.
REGROUP_FOR_EACH_PROCESSOR
void MultiplyColumns(const float* x, int64_t rows, const float* weight, int64_t width, float* y, int64_t outputs,
                     int64_t first, int64_t last) {
  for (int64_t entry = 0; entry < width; entry += kEntriesAtOnce) {
    const int64_t entries = std::min(kEntriesAtOnce, width - entry);
    const float* const columns = weight + entry;
    int64_t o = first;
    for (; o + 4 <= last; o += 4) MultiplyRows<4>(x + entry, rows, columns + o * width, width, entries, y + o, outputs);
    for (; o < last; ++o) MultiplyRows<1>(x + entry, rows, columns + o * width, width, entries, y + o, outputs);
  }
}

}  // namespace

bool HasFewRows(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t width = weight.size(1);
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && weight.is_contiguous() &&
         width % kLanes == 0 && x.numel() <= kMostRows * width &&
         !(at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad()));
}

at::Tensor LinearOfFewRows(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t outputs = weight.size(0), width = weight.size(1);
  const at::Tensor rows = x.contiguous().view({-1, width});
  at::Tensor y = at::zeros({rows.size(0), outputs}, x.options());
  const float* const from = rows.const_data_ptr<float>();
  const float* const weights = weight.const_data_ptr<float>();
  float* const to = y.mutable_data_ptr<float>();
  // Whole tiles of four outputs for each thread, and no thread for a trifle.
  const int64_t tiles = (outputs + 3) / 4;
  const int64_t grain = std::max<int64_t>(1, 16384 / (4 * width));
  at::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    MultiplyColumns(from, rows.size(0), weights, width, to, outputs, begin * 4, std::min(outputs, end * 4));
  });
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = outputs;
  return y.view(shape);
}

}  // namespace regroup
