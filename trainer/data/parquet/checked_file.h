// A file that is read in any order after its digest was taken. What is read later is held against what was read then,
// so that bytes which somebody changed in between are never used.
//
// One thread at a time. Keeps 32 bytes for each MiB of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/stored_bytes.h"

namespace regroup {

class CheckedFile {
 public:
  static constexpr size_t kChunkBytes = size_t{1} << 20;

  /// Reads the whole file, of which nothing may have been used yet, and notes a digest of each MiB. `stored` must
  /// outlive the result. Errors: those of InputFile::Read.
  static absl::StatusOr<CheckedFile> Read(StoredBytes& stored);

  uint64_t bytes() const { return bytes_; }
  /// Reads `count` bytes from `offset` on. DATA_LOSS if the file has other bytes there now than at first, or fewer;
  /// OUT_OF_RANGE beyond the end.
  absl::Status ReadAt(uint64_t offset, char* buffer, size_t count);

 private:
  explicit CheckedFile(const StoredBytes& stored) : stored_(&stored) {}
  /// Reads a whole MiB, or what the end of the file leaves of it, into chunk_, and compares it.
  absl::Status ReadChunk(uint64_t index);

  const StoredBytes* stored_;
  uint64_t bytes_ = 0;
  std::vector<std::string> digests_;
  std::vector<char> chunk_;
};

}  // namespace regroup
