// Computes the two products of attention for one new token, on CPU in float32, for query heads that share KV heads.
//
// Decoding is bound by reading the cache. A general matrix product with as few rows as a group has queries reaches a
// fraction of the memory bandwidth; these loops read each key and each value once, in memory order, and use them for
// all queries of the group. Legend: B sequences, G KV heads, s queries per KV head, T tokens, d width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

/// Keys are stored in blocks of this many tokens, each block as [d, kKeyBlock]: one vector register then holds the same
/// entry of 16 keys, and scores need no sums across a register.
inline constexpr int64_t kKeyBlock = 16;

/// Returns true if the functions below support heads of this width.
bool CanMultiplyGrouped(int64_t head_width, at::ScalarType dtype, at::Device device);

/// Returns scores[b, g, i, t] = query[b, g, i] . key[b, g, t] for t < tokens, [B, G, s, tokens], from query [B, G, s,
/// d] and contiguous blocks [B, G, capacity / kKeyBlock, d, kKeyBlock].
at::Tensor ScoreKeys(const at::Tensor& query_BGsd, const at::Tensor& key_blocks, int64_t tokens);

/// Returns result[b, g, i] = sum over t of weights[b, g, i, t] value[b, g, t], [B, G, s, d], from weights [B, G, s, T]
/// and the first T of the contiguous values [B, G, capacity, d].
at::Tensor WeighValues(const at::Tensor& weights_BGsT, const at::Tensor& values_BGTd);

}  // namespace regroup
