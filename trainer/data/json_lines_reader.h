// Reads a JSON Lines file one object at a time. Blank lines are skipped.
//
// One thread at a time. Keeps one line in memory.
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
#include "services/common/base/sha256.h"

namespace regroup {

class JsonLinesReader {
 public:
  /// Opens the file. NOT_FOUND or PERMISSION_DENIED with the path; INVALID_ARGUMENT for a folder.
  static absl::StatusOr<JsonLinesReader> Open(const std::filesystem::path& path);

  /// Returns the next object, or nullopt at the end. INVALID_ARGUMENT "file:line: ..." for a line that is not a JSON
  /// object.
  absl::StatusOr<std::optional<nlohmann::json>> Next();

  /// Reads the rest of the file, and returns the SHA-256 of all its bytes, each as it was read. Called once, at the
  /// end.
  absl::StatusOr<std::string> Digest();

  /// Returns INVALID_ARGUMENT for the last line read: "file:line: <what>".
  absl::Status ErrorHere(std::string_view what) const;
  /// Returns a required string field of the last object read. INVALID_ARGUMENT names the field and the fields present.
  absl::StatusOr<std::string> TextField(const nlohmann::json& object, const char* field) const;

  /// Bytes of the file read so far, and in total.
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
  Sha256 digest_;
};

}  // namespace regroup
