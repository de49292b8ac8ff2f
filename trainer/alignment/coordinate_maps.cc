#include "trainer/alignment/coordinate_maps.h"

#include <ATen/ATen.h>

namespace regroup {

CoordinateMaps CoordinateMaps::Select(const at::Tensor& order) const {
  return {pairs.index_select(0, order), free.index_select(0, order)};
}

at::Tensor MapCoordinates(const at::Tensor& rows, const CoordinateMaps& maps, const AttentionShape& shape) {
  auto mapped = at::empty_like(rows);
  if (shape.RotaryPairs() > 0) {
    const auto first_index = FirstOfPairs(shape);
    const auto second_index = SecondOfPairs(shape);
    const auto first = rows.index_select(1, first_index);
    const auto second = rows.index_select(1, second_index);
    const auto real = maps.pairs.select(2, 0).unsqueeze(2);
    const auto imaginary = maps.pairs.select(2, 1).unsqueeze(2);
    mapped.index_copy_(1, first_index, real * first - imaginary * second);
    mapped.index_copy_(1, second_index, real * second + imaginary * first);
  }
  if (shape.FreeWidth() > 0) {
    const auto free = rows.narrow(1, shape.rotary_width, shape.FreeWidth());
    mapped.narrow(1, shape.rotary_width, shape.FreeWidth()).copy_(maps.free.transpose(1, 2).bmm(free));
  }
  return mapped;
}

}  // namespace regroup
