#include "trainer/checkpoint/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/foreign_file.h"
#include "trainer/checkpoint/safetensors_header_parser.h"

namespace regroup {
namespace {

constexpr uint64_t kSizeBytes = 8;

struct DtypeRow {
  SafetensorsDtype dtype;
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<DtypeRow, 17> kDtypes = {{{SafetensorsDtype::kBool, "BOOL", 1},
                                               {SafetensorsDtype::kU8, "U8", 1},
                                               {SafetensorsDtype::kI8, "I8", 1},
                                               {SafetensorsDtype::kI16, "I16", 2},
                                               {SafetensorsDtype::kI32, "I32", 4},
                                               {SafetensorsDtype::kI64, "I64", 8},
                                               {SafetensorsDtype::kF16, "F16", 2},
                                               {SafetensorsDtype::kBF16, "BF16", 2},
                                               {SafetensorsDtype::kF32, "F32", 4},
                                               {SafetensorsDtype::kF64, "F64", 8},
                                               {SafetensorsDtype::kU16, "U16", 2},
                                               {SafetensorsDtype::kU32, "U32", 4},
                                               {SafetensorsDtype::kU64, "U64", 8},
                                               {SafetensorsDtype::kC64, "C64", 8},
                                               {SafetensorsDtype::kF8E4M3, "F8_E4M3", 1},
                                               {SafetensorsDtype::kF8E5M2, "F8_E5M2", 1},
                                               {SafetensorsDtype::kF8E8M0, "F8_E8M0", 1}}};

absl::Status Invalid(std::string_view file, std::string_view what) {
  return absl::DataLossError(fmt::format("{}: {}", file, what));
}

absl::Status InvalidTensor(std::string_view file, const SafetensorsEntry& entry, std::string_view what) {
  return Invalid(file, fmt::format("tensor {}: {}", ShownName(entry.name), what));
}

uint64_t LittleEndian64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// Returns the size of the elements in bytes, or nullopt if the number overflows. The overflow check counts a dimension
/// of 0 as 1, because strides are products of the dimensions too.
std::optional<uint64_t> BytesOfShape(const SafetensorsEntry& entry) {
  int64_t product = SafetensorsDtypeBytes(entry.dtype);
  bool empty = false;
  for (const int64_t size : entry.shape) {
    empty |= size == 0;
    if (__builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product)) return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(product);
}

absl::Status CheckEntry(const SafetensorsEntry& entry, uint64_t expected_begin, std::string_view file) {
  if (entry.end < entry.begin) return InvalidTensor(file, entry, "its data ends before it begins");
  if (entry.begin != expected_begin) {
    return InvalidTensor(file, entry,
                         fmt::format("its data begins at byte {} but the data before it ends at byte {}: the tensors "
                                     "must follow one another without gaps or overlaps",
                                     entry.begin, expected_begin));
  }
  const std::optional<uint64_t> bytes = BytesOfShape(entry);
  if (!bytes) return InvalidTensor(file, entry, "its shape overflows");
  if (*bytes != entry.end - entry.begin) {
    return InvalidTensor(
        file, entry,
        fmt::format("its dtype and shape need {} bytes but its data_offsets give {}", *bytes, entry.end - entry.begin));
  }
  return absl::OkStatus();
}

absl::Status CheckEntries(const SafetensorsHeader& header, uint64_t file_bytes, std::string_view file) {
  uint64_t end = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    REGROUP_RETURN_IF_ERROR(CheckEntry(entry, end, file));
    end = entry.end;
  }
  const uint64_t data_bytes = file_bytes - header.data_offset;
  if (end == data_bytes) return absl::OkStatus();
  return Invalid(file, fmt::format("the header describes {} bytes of tensors but the file has {}{}", end, data_bytes,
                                   end > data_bytes ? "; is it truncated?" : ""));
}

nlohmann::ordered_json InfoOf(const SafetensorsEntry& entry) {
  nlohmann::ordered_json info;
  info["dtype"] = SafetensorsDtypeName(entry.dtype);
  info["shape"] = entry.shape;
  info["data_offsets"] = {entry.begin, entry.end};
  return info;
}

}  // namespace

std::string_view SafetensorsDtypeName(SafetensorsDtype dtype) { return kDtypes[static_cast<size_t>(dtype)].name; }

std::optional<SafetensorsDtype> SafetensorsDtypeFromName(std::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

int64_t SafetensorsDtypeBytes(SafetensorsDtype dtype) { return kDtypes[static_cast<size_t>(dtype)].bytes; }

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view content, uint64_t file_bytes,
                                                         std::string_view file) {
  if (const std::string foreign = ForeignFile(content, KnownFormat::kSafetensors); !foreign.empty()) {
    return absl::DataLossError(fmt::format("{} {}", file, foreign));
  }
  if (file_bytes < kSizeBytes || content.size() < kSizeBytes) {
    return Invalid(file, "is too short to be a safetensors file");
  }
  const uint64_t header_bytes = LittleEndian64(content);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return Invalid(file, fmt::format("is not a safetensors file: its header would have {} bytes", header_bytes));
  }
  if (header_bytes > file_bytes - kSizeBytes || header_bytes > content.size() - kSizeBytes) {
    return Invalid(file, fmt::format("its header needs {} bytes but the file has only {}; is it truncated?",
                                     header_bytes, file_bytes));
  }
  const std::string_view json = content.substr(kSizeBytes, header_bytes);
  if (!json.starts_with('{')) return Invalid(file, "is not a safetensors file: its header is not a JSON object");
  REGROUP_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseSafetensorsJson(json, file));
  header.data_offset = kSizeBytes + header_bytes;
  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](const auto& a, const auto& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  REGROUP_RETURN_IF_ERROR(CheckEntries(header, file_bytes, file));
  return header;
}

std::string FormatSafetensorsHeader(const SafetensorsHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json["__metadata__"] = header.metadata;
  for (const SafetensorsEntry& entry : header.entries) json[entry.name] = InfoOf(entry);
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string result(kSizeBytes, '\0');
  for (size_t i = 0; i < kSizeBytes; ++i) result[i] = static_cast<char>(text.size() >> (8 * i));
  return result + text;
}

}  // namespace regroup
