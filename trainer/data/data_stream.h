// The content of a data file as JSON Lines: decompressed if it starts as gzip or Zstandard does, and the rows of a
// Parquet file as lines (parquet/parquet_decoder.h), whatever its name.
//
// One thread at a time. Holds a piece of the file and the window of the compression: at most 128 MiB, which a Zstandard
// file must not exceed; for Parquet see there. Errors: those of InputFile; DATA_LOSS for a file that is damaged or
// truncated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace regroup {

class DataDecoder;
class StoredBytes;

class DataStream {
 public:
  static absl::StatusOr<DataStream> Open(const std::filesystem::path& path);
  DataStream(DataStream&&) noexcept;
  DataStream& operator=(DataStream&&) noexcept;
  ~DataStream();

  /// Reads up to `count` bytes of the content, more than 0, and returns how many; 0 at the end.
  absl::StatusOr<size_t> Read(char* buffer, size_t count);

  /// Reads the rest of the file without decoding it, and returns the SHA-256 of all its bytes as they are stored,
  /// each as it was read. Called once, at the end.
  absl::StatusOr<std::string> Digest();

  const std::filesystem::path& path() const;
  /// Stored bytes read so far, and in total.
  uint64_t bytes_read() const;
  uint64_t file_bytes() const;

 private:
  DataStream(std::unique_ptr<StoredBytes> stored, std::unique_ptr<DataDecoder> decoder);

  std::unique_ptr<StoredBytes> stored_;
  /// Null for plain text.
  std::unique_ptr<DataDecoder> decoder_;
};

}  // namespace regroup
