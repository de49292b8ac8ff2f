// Refits the query projection of a merged layer against the source's attention logits (a part of `refine`).
//
// The best that the shared key says about key a of its group is k_a ~ alpha k_g for each rotary pair seen as a complex
// number, with alpha = E conj(k_g) k_a / E|k_g|^2 (pairs do not mix: on average over distances their products vanish),
// and k_a ~ k_g A for the other coordinates, A = (E k_g^T k_g)^-1 E k_g^T k_a, both centred. So conj(alpha) q_a, and
// q_a A^T, read from k_g what q_a read from k_a. With x the input of the source's layer and x' that of the converted
// one, which lags behind, W is the least-squares map from x' to those queries:
//
//   (sum x'^T x' + mu I) W = sum x'^T (q_a of x, mapped) + mu W_q',    mu = 1e-3 of the mean diagonal.
//
// Sums are float64 and do not grow with the tokens. One thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/nn/model.h"
#include "trainer/nn/transformer.h"

namespace regroup {

class QueryRefit {
 public:
  /// `alignment` must outlive it. `with_bias`: the projection has one.
  QueryRefit(const AttentionShape& shape, const LayerAlignment& alignment, bool with_bias, at::Device device);

  /// Adds the tokens of a window. `source_queries` [B, T, H d] are the source's projected queries of source.query.
  void Add(const AttentionRows& source, const at::Tensor& source_queries, const AttentionRows& converted);

  /// To be summed over ranks in place.
  std::vector<at::Tensor> Sums() const;

  /// The new projection, in the old one's dtype and on its device; `old` is that of the merged layer.
  Linear Solve(const Linear& old) const;

 private:
  at::Tensor MappedTargets() const;

  AttentionShape shape_;
  const LayerAlignment& alignment_;
  bool with_bias_;
  at::Tensor moment_;      // x'^T x' [n, n]; n is the input's width, one more with a bias
  at::Tensor product_;     // x'^T q [n, H d], heads in the merged layer's order
  at::Tensor pair_cross_;  // conj(k_g) k_a [KV heads, pairs, 2]
  at::Tensor pair_power_;  // |k_g|^2 [groups, pairs]
  // Of the coordinates without rotation.
  at::Tensor free_cross_;   // [KV heads, f, f]
  at::Tensor free_gram_;    // [groups, f, f]
  at::Tensor source_sum_;   // [KV heads, f]
  at::Tensor shared_sum_;   // [groups, f]
  at::Tensor tokens_;       // [1], of the keys
  at::Tensor kv_order_;     // source KV head at each place
  at::Tensor query_order_;  // source query head at each place
};

}  // namespace regroup
