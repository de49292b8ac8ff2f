#include "trainer/alignment/pair_gram.h"

#include <ATen/ATen.h>

namespace regroup {

at::Tensor StackPairs(const at::Tensor& heads, const AttentionShape& shape) {
  const auto first = heads.index_select(1, FirstOfPairs(shape).to(heads.device()));
  const auto second = heads.index_select(1, SecondOfPairs(shape).to(heads.device()));
  return at::cat({first, second}).transpose(0, 1).contiguous();
}

at::Tensor PairsOfTokens(const at::Tensor& heads, const AttentionShape& shape) {
  const int64_t tokens = heads.size(0), count = heads.size(1), pairs = shape.RotaryPairs();
  const auto rotary = heads.narrow(2, 0, shape.rotary_width);
  const auto parts = shape.interleaved ? rotary.view({tokens, count, pairs, 2}).permute({2, 0, 3, 1})
                                       : rotary.view({tokens, count, 2, pairs}).permute({3, 0, 2, 1});
  return parts.reshape({pairs, tokens, 2 * count});
}

at::Tensor ComplexGramParts(const at::Tensor& product) {
  const int64_t heads = product.size(1) / 2;
  const auto block = [&](int64_t row, int64_t column) {
    return product.narrow(1, row * heads, heads).narrow(2, column * heads, heads);
  };
  // conj(x + jy) (x' + jy') = x x' + y y' + j (x y' - y x')
  return at::stack({block(0, 0) + block(1, 1), block(0, 1) - block(1, 0)}, -1);
}

}  // namespace regroup
