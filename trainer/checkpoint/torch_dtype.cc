#include "trainer/checkpoint/torch_dtype.h"

#include <fmt/format.h>

#include <cstdint>

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
    case SafetensorsDtype::kU16:
      return at::kUInt16;
    case SafetensorsDtype::kU32:
      return at::kUInt32;
    case SafetensorsDtype::kU64:
      return at::kUInt64;
    case SafetensorsDtype::kC64:
      return at::kComplexFloat;
    case SafetensorsDtype::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case SafetensorsDtype::kF8E5M2:
      return at::kFloat8_e5m2;
    case SafetensorsDtype::kF8E8M0:
      return at::kFloat8_e8m0fnu;
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

bool IsAligned(const char* data, SafetensorsDtype dtype) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(SafetensorsDtypeBytes(dtype)) == 0;
}

}  // namespace regroup
