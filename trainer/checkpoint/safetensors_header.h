// Reads and writes the header of a safetensors file, which lists its tensors and where they lie. Does not use libtorch,
// so that it can be fuzzed alone.
//
// A file is 8 bytes (little-endian size n of the header), n bytes of JSON that begin with '{', then the tensors' bytes.
// The JSON maps each name to {"dtype", "shape", "data_offsets": [begin, end]} and "__metadata__" to string pairs.
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

/// Those from kU16 on are read but not written.
enum class SafetensorsDtype {
  kBool,
  kU8,
  kI8,
  kI16,
  kI32,
  kI64,
  kF16,
  kBF16,
  kF32,
  kF64,
  kU16,
  kU32,
  kU64,
  kC64,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0
};

/// Returns the name used in the file, for example "BF16".
std::string_view SafetensorsDtypeName(SafetensorsDtype dtype);
std::optional<SafetensorsDtype> SafetensorsDtypeFromName(std::string_view name);
/// Returns the size of one element in bytes.
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
  /// Byte of the file at which the tensors begin.
  uint64_t data_offset = 0;
};

/// Larger headers are rejected, as in the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

/// Reads and checks the header. `content` is the beginning of the file and contains at least the whole header;
/// `file_bytes` is the size of the whole file; `file` is its name for errors. Checks that the header fits and is JSON
/// without repeated names, that each dtype is known, that the product of each shape matches the number of its bytes,
/// and that the tensors cover the rest of the file without gaps or overlaps. Error: DATA_LOSS that names the file,
/// what it is instead if that is known, and, if one is concerned, the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view content, uint64_t file_bytes,
                                                         std::string_view file);

/// Returns the bytes before the tensors: size and JSON, padded with spaces to a multiple of 8. Entries are written as
/// given.
std::string FormatSafetensorsHeader(const SafetensorsHeader& header);

}  // namespace regroup
