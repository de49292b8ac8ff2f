// The bytes of a data file as they are stored, piece by piece, with their digest. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"

namespace regroup {

class StoredBytes {
 public:
  explicit StoredBytes(InputFile file);

  /// Replaces the piece, of which everything was used; it is empty at the end of the file. Errors: those of
  /// InputFile::Read.
  absl::Status Fill();
  /// Returns what is left of the piece.
  std::string_view rest() const { return {piece_.data() + used_, filled_ - used_}; }
  void Use(size_t count) { used_ += count; }

  /// Reads the rest of the file, and returns the SHA-256 of all its bytes. Called once, at the end.
  absl::StatusOr<std::string> Digest();

  const InputFile& file() const { return file_; }
  const std::filesystem::path& path() const { return file_.path(); }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  InputFile file_;
  std::vector<char> piece_;
  size_t filled_ = 0, used_ = 0;
  uint64_t bytes_read_ = 0;
  Sha256 digest_;
};

}  // namespace regroup
