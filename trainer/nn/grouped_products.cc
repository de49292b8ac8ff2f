#include "trainer/nn/grouped_products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "services/common/base/processor_targets.h"

namespace regroup {
namespace {

/// Computes the scores of `Queries` queries (rows of width d) against one block of keys [d, 16].
template <int Queries>
REGROUP_INLINE void ScoreBlock(const float* query, const float* keys, int64_t width, float* scores,
                               int64_t score_stride) {
  Lanes sums[Queries] = {};
  for (int64_t entry = 0; entry < width; ++entry) {
    const Lanes key = *reinterpret_cast<const Lanes*>(keys + entry * kLanes);
    for (int i = 0; i < Queries; ++i) sums[i] += query[i * width + entry] * key;
  }
  for (int i = 0; i < Queries; ++i) *reinterpret_cast<Lanes*>(scores + i * score_stride) = sums[i];
}

REGROUP_FOR_EACH_PROCESSOR
void ScoreBlocks(const float* query, int64_t queries, const float* keys, int64_t width, int64_t blocks, float* scores,
                 int64_t score_stride) {
  for (int64_t block = 0; block < blocks; ++block) {
    const float* const own = keys + block * width * kLanes;
    float* const out = scores + block * kLanes;
    int64_t i = 0;
    for (; i + 8 <= queries; i += 8) ScoreBlock<8>(query + i * width, own, width, out + i * score_stride, score_stride);
    for (; i + 4 <= queries; i += 4) ScoreBlock<4>(query + i * width, own, width, out + i * score_stride, score_stride);
    for (; i + 2 <= queries; i += 2) ScoreBlock<2>(query + i * width, own, width, out + i * score_stride, score_stride);
    for (; i < queries; ++i) ScoreBlock<1>(query + i * width, own, width, out + i * score_stride, score_stride);
  }
}

/// Adds the weighted rows of values to sums[i][0..Columns * 16), for `Queries` queries.
template <int Queries, int Columns>
REGROUP_INLINE void WeighTile(const float* weights, int64_t weight_stride, const float* values, int64_t width,
                              int64_t tokens, float* result) {
  Lanes sums[Queries][Columns];
  for (int i = 0; i < Queries; ++i) {
    for (int c = 0; c < Columns; ++c) sums[i][c] = *reinterpret_cast<const Lanes*>(result + i * width + c * kLanes);
  }
  for (int64_t token = 0; token < tokens; ++token) {
    Lanes row[Columns];
    for (int c = 0; c < Columns; ++c) {
      row[c] = *reinterpret_cast<const Lanes*>(values + token * width + c * kLanes);
    }
    for (int i = 0; i < Queries; ++i) {
      const float weight = weights[i * weight_stride + token];
      for (int c = 0; c < Columns; ++c) sums[i][c] += weight * row[c];
    }
  }
  for (int i = 0; i < Queries; ++i) {
    for (int c = 0; c < Columns; ++c) *reinterpret_cast<Lanes*>(result + i * width + c * kLanes) = sums[i][c];
  }
}

template <int Columns>
REGROUP_INLINE void WeighColumns(const float* weights, int64_t weight_stride, int64_t queries, const float* values,
                                 int64_t width, int64_t tokens, float* result) {
  int64_t i = 0;
  for (; i + 4 <= queries; i += 4) {
    WeighTile<4, Columns>(weights + i * weight_stride, weight_stride, values, width, tokens, result + i * width);
  }
  for (; i < queries; ++i) {
    WeighTile<1, Columns>(weights + i * weight_stride, weight_stride, values, width, tokens, result + i * width);
  }
}

/// Number of tokens whose values stay in the L1 cache while all queries use them.
constexpr int64_t kTokensAtOnce = 32;

REGROUP_FOR_EACH_PROCESSOR
void WeighRows(const float* weights, int64_t weight_stride, int64_t queries, const float* values, int64_t width,
               int64_t tokens, float* result) {
  for (int64_t first = 0; first < tokens; first += kTokensAtOnce) {
    const int64_t count = std::min(kTokensAtOnce, tokens - first);
    int64_t column = 0;
    for (; column + 4 * kLanes <= width; column += 4 * kLanes) {
      WeighColumns<4>(weights + first, weight_stride, queries, values + first * width + column, width, count,
                      result + column);
    }
    for (; column < width; column += kLanes) {
      WeighColumns<1>(weights + first, weight_stride, queries, values + first * width + column, width, count,
                      result + column);
    }
  }
}

/// Returns into how many pieces to cut the tokens, so that every thread has work even with few sequences and KV heads.
int64_t Pieces(int64_t heads, int64_t units) {
  const int64_t wanted = (2 * at::get_num_threads() + heads - 1) / heads;
  return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, units));
}

}  // namespace

bool CanMultiplyGrouped(int64_t head_width, at::ScalarType dtype, at::Device device) {
  return device.is_cpu() && dtype == at::kFloat && head_width % kLanes == 0;
}

at::Tensor ScoreKeys(const at::Tensor& query_BGsd, const at::Tensor& key_blocks, int64_t tokens) {
  const at::Tensor query = query_BGsd.contiguous();
  const int64_t queries = query.size(2), width = query.size(3);
  const int64_t heads = query.size(0) * query.size(1);
  const int64_t blocks = (tokens + kKeyBlock - 1) / kKeyBlock;
  const int64_t head_stride = key_blocks.stride(1);
  at::Tensor scores = at::empty({query.size(0), query.size(1), queries, blocks * kKeyBlock}, query.options());
  const float* const from = query.const_data_ptr<float>();
  const float* const keys = key_blocks.const_data_ptr<float>();
  float* const to = scores.mutable_data_ptr<float>();
  const int64_t pieces = Pieces(heads, blocks);
  at::parallel_for(0, heads * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / pieces, piece = item % pieces;
      const int64_t first = blocks * piece / pieces, last = blocks * (piece + 1) / pieces;
      ScoreBlocks(from + head * queries * width, queries, keys + head * head_stride + first * width * kKeyBlock, width,
                  last - first, to + head * queries * blocks * kKeyBlock + first * kKeyBlock, blocks * kKeyBlock);
    }
  });
  return scores.narrow(3, 0, tokens);
}

at::Tensor WeighValues(const at::Tensor& weights_BGsT, const at::Tensor& values_BGTd) {
  const at::Tensor weights = weights_BGsT.contiguous();
  const int64_t queries = weights.size(2), tokens = weights.size(3), width = values_BGTd.size(3);
  const int64_t heads = weights.size(0) * weights.size(1);
  const int64_t head_stride = values_BGTd.stride(1);
  const int64_t pieces = Pieces(heads, tokens / kTokensAtOnce);
  at::Tensor parts = at::zeros({weights.size(0), weights.size(1), pieces, queries, width}, weights.options());
  const float* const from = weights.const_data_ptr<float>();
  const float* const values = values_BGTd.const_data_ptr<float>();
  float* const to = parts.mutable_data_ptr<float>();
  at::parallel_for(0, heads * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / pieces, piece = item % pieces;
      const int64_t first = tokens * piece / pieces, last = tokens * (piece + 1) / pieces;
      WeighRows(from + head * queries * tokens + first, tokens, queries, values + head * head_stride + first * width,
                width, last - first, to + item * queries * width);
    }
  });
  return pieces == 1 ? parts.squeeze(2) : parts.sum(2);
}

}  // namespace regroup
