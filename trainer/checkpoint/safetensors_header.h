// The header of a safetensors file: what tensors it holds and where. No libtorch here, so that it can be fuzzed alone.
//
// A file is 8 bytes (little-endian size n of the header), n bytes of JSON that begin with '{', then the tensors' bytes.
// The JSON maps each name to {"dtype", "shape", "data_offsets": [begin, end]} and "__metadata__" to text pairs.
// Functions are pure and may be called from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

enum class SafetensorsDtype { kBool, kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64 };

/// The name in the file, for example "BF16".
std::string_view SafetensorsDtypeName(SafetensorsDtype dtype);
std::optional<SafetensorsDtype> SafetensorsDtypeFromName(std::string_view name);
/// Bytes of one element.
int64_t SafetensorsDtypeBytes(SafetensorsDtype dtype);

/// One tensor of a file.
struct SafetensorsEntry {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<int64_t> shape;
  /// Bytes [begin, end) counted from SafetensorsHeader::data_offset.
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  /// In the order of their bytes.
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  /// Where the tensors' bytes start in the file.
  uint64_t data_offset = 0;
};

/// Headers larger than this are refused, as the reference implementation does.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

/// Reads and checks the header. `content` is the file's beginning, at least the whole header; `file_bytes` the size of
/// the whole file; `file` its name for errors. Checked: the header fits, is JSON without repeated names, each dtype is
/// known, the product of each shape is the size of its bytes, and the tensors cover the rest of the file without hole
/// or overlap. Error: INVALID_ARGUMENT that names the file and, where there is one, the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view content, uint64_t file_bytes,
                                                         std::string_view file);

/// The bytes before the tensors: size and JSON, padded with spaces to a multiple of 8. Entries are written as given.
std::string FormatSafetensorsHeader(const SafetensorsHeader& header);

}  // namespace regroup
