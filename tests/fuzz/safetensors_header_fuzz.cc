// Input: the JSON of a safetensors header; the target prepends its length, so that damage reaches the parser. The same
// bytes are also read as a whole file.
#include <algorithm>
#include <string>
#include <string_view>

#include "tests/fuzz/require.h"
#include "trainer/checkpoint/safetensors_header.h"
#include "trainer/checkpoint/safetensors_header_parser.h"

namespace regroup {
namespace {

std::string WithLength(std::string_view json) {
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(json.size() >> (8 * i));
  return file.append(json);
}

/// Requires that the tensors cover the bytes after the header exactly once, and that the header can be written and read
/// again.
void CheckHeader(const SafetensorsHeader& header, uint64_t file_bytes) {
  uint64_t end = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    REGROUP_REQUIRE(entry.begin == end && entry.end >= entry.begin);
    end = entry.end;
  }
  REGROUP_REQUIRE(header.data_offset + end == file_bytes);
  const std::string written = FormatSafetensorsHeader(header);
  const auto again = ParseSafetensorsHeader(written, written.size() + end, "again");
  REGROUP_REQUIRE(again.ok());
  REGROUP_REQUIRE(again->entries.size() == header.entries.size() && again->metadata == header.metadata);
  for (size_t i = 0; i < header.entries.size(); ++i) {
    REGROUP_REQUIRE(again->entries[i].name == header.entries[i].name);
    REGROUP_REQUIRE(again->entries[i].shape == header.entries[i].shape);
  }
}

void ReadFile(std::string_view file, uint64_t data_bytes) {
  const auto header = ParseSafetensorsHeader(file, file.size() + data_bytes, "file");
  if (header.ok()) CheckHeader(*header, file.size() + data_bytes);
}

/// Returns as many bytes of tensors as the header declares, so that an intact header is accepted.
uint64_t DataBytes(std::string_view json) {
  const auto header = ParseSafetensorsJson(json, "file");
  uint64_t end = 0;
  if (header.ok()) {
    for (const SafetensorsEntry& entry : header->entries) end = std::max(end, entry.end);
  }
  return end < uint64_t{1} << 62 ? end : 0;
}

}  // namespace
}  // namespace regroup

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  regroup::ReadFile(text, 0);
  regroup::ReadFile(regroup::WithLength(text), regroup::DataBytes(text));
  return 0;
}
