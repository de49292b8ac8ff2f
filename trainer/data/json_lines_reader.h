// Reads a JSON Lines file one object at a time. Blank lines are skipped.
//
// One thread at a time. Keeps one line in memory, which may have kMaxLineBytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"

namespace regroup {

/// The text of a long book; a larger line is one of a file that holds something else.
inline constexpr size_t kMaxLineBytes = size_t{16} << 20;

class JsonLinesReader {
 public:
  /// Opens the file. The errors are those of InputFile.
  static absl::StatusOr<JsonLinesReader> Open(const std::filesystem::path& path);

  /// Returns the next object, or nullopt at the end. INVALID_ARGUMENT "file:line: ..." for a line that is not a JSON
  /// object or too long; DATA_LOSS if the file became shorter.
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
  uint64_t file_bytes() const { return file_.bytes(); }

 private:
  explicit JsonLinesReader(InputFile file) : file_(std::move(file)) {}
  /// Reads the next part of the file into buffer_; none is left if it is empty then.
  absl::Status ReadPiece();
  /// Puts the next line into line_, without its end; false at the end of the file.
  absl::StatusOr<bool> ReadLine();

  InputFile file_;
  /// The part of the file that was read last, and how much of it the lines so far used.
  std::vector<char> buffer_;
  size_t filled_ = 0, used_ = 0;
  std::string line_;
  int64_t line_number_ = 0;
  uint64_t bytes_read_ = 0;
  Sha256 digest_;
};

}  // namespace regroup
