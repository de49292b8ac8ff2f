// Reads a JSON Lines file, which may be compressed (data_stream.h), one object at a time. Blank lines are skipped.
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
#include "trainer/data/data_stream.h"

namespace regroup {

/// The text of a long book; a larger line is one of a file that holds something else.
inline constexpr size_t kMaxLineBytes = size_t{16} << 20;

class JsonLinesReader {
 public:
  /// Opens the file. The errors are those of DataStream.
  static absl::StatusOr<JsonLinesReader> Open(const std::filesystem::path& path);

  /// Returns the next object, or nullopt at the end. INVALID_ARGUMENT "file:line: ..." for a line that is not a JSON
  /// object or too long, and for a file of another kind (data_kind.h); DATA_LOSS if the file became shorter.
  absl::StatusOr<std::optional<nlohmann::json>> Next();

  /// Returns the text of the object that Next returned last.
  const std::string& line() const { return line_; }

  /// See DataStream::Digest.
  absl::StatusOr<std::string> Digest() { return stream_.Digest(); }

  /// Returns INVALID_ARGUMENT for the last line read: "file:line: <what>".
  absl::Status ErrorHere(std::string_view what) const;
  /// Returns a required string field of the last object read. INVALID_ARGUMENT names the field and the fields present.
  absl::StatusOr<std::string> TextField(const nlohmann::json& object, const std::string& field) const;

  /// Bytes of the file read so far, and in total.
  uint64_t bytes_read() const { return stream_.bytes_read(); }
  uint64_t file_bytes() const { return stream_.file_bytes(); }

 private:
  explicit JsonLinesReader(DataStream stream) : stream_(std::move(stream)) {}
  /// Reads the next part of the content into buffer_; none is left if it is empty then.
  absl::Status ReadPiece();
  /// Puts the next line into line_, without its end; false at the end of the file.
  absl::StatusOr<bool> ReadLine();

  DataStream stream_;
  /// The part of the content that was read last, and how much of it the lines so far used.
  std::vector<char> buffer_;
  size_t filled_ = 0, used_ = 0;
  std::string line_;
  int64_t line_number_ = 0;
};

}  // namespace regroup
