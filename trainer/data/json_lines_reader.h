// Reads a JSON Lines file one object at a time. Blank lines are skipped.
//
// One thread at a time. Memory: one line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

class JsonLinesReader {
 public:
  /// NOT_FOUND or PERMISSION_DENIED with the path; INVALID_ARGUMENT for a folder.
  static absl::StatusOr<JsonLinesReader> Open(const std::filesystem::path& path);

  /// The next object, or nothing at the end. INVALID_ARGUMENT "file:line: ..." for a line that is not a JSON object.
  absl::StatusOr<std::optional<nlohmann::json>> Next();

  /// INVALID_ARGUMENT at the line read last: "file:line: <what>".
  absl::Status ErrorHere(std::string_view what) const;
  /// A required field of the object read last that must be text. INVALID_ARGUMENT names the field and those present.
  absl::StatusOr<std::string> TextField(const nlohmann::json& object, const char* field) const;

  /// Bytes of the file read so far, and in all.
  uint64_t bytes_read() const { return bytes_read_; }
  uint64_t file_bytes() const { return file_bytes_; }

 private:
  JsonLinesReader() = default;

  std::filesystem::path path_;
  std::ifstream stream_;
  std::string line_;
  int64_t line_number_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t file_bytes_ = 0;
};

}  // namespace regroup
