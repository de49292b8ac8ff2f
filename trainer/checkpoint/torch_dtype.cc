#include "trainer/checkpoint/torch_dtype.h"

#include <fmt/format.h>

namespace regroup {

at::ScalarType ToScalarType(SafetensorsDtype dtype) {
  switch (dtype) {
    case SafetensorsDtype::kBool:
      return at::kBool;
    case SafetensorsDtype::kU8:
      return at::kByte;
    case SafetensorsDtype::kI8:
      return at::kChar;
    case SafetensorsDtype::kI16:
      return at::kShort;
    case SafetensorsDtype::kI32:
      return at::kInt;
    case SafetensorsDtype::kI64:
      return at::kLong;
    case SafetensorsDtype::kF16:
      return at::kHalf;
    case SafetensorsDtype::kBF16:
      return at::kBFloat16;
    case SafetensorsDtype::kF32:
      return at::kFloat;
    case SafetensorsDtype::kF64:
      return at::kDouble;
  }
  return at::ScalarType::Undefined;
}

absl::StatusOr<SafetensorsDtype> ToSafetensorsDtype(at::ScalarType type) {
  for (int i = 0; i <= static_cast<int>(SafetensorsDtype::kF64); ++i) {
    const auto dtype = static_cast<SafetensorsDtype>(i);
    if (ToScalarType(dtype) == type) return dtype;
  }
  return absl::InvalidArgumentError(fmt::format("element type {} cannot be stored in safetensors", at::toString(type)));
}

}  // namespace regroup
