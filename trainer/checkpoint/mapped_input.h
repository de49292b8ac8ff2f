// A weights file in memory: its bytes are read from disk on first access.
//
// Shared and immutable; any thread may read. The mapping is read-only. If the file becomes shorter while it is open, an
// access is told to WatchMappedFiles.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/common/base/mapped_files.h"

namespace regroup {

class MappedInput {
 public:
  /// Errors: those of InputFile::Open.
  static absl::StatusOr<std::shared_ptr<const MappedInput>> Open(const std::filesystem::path& path);

  ~MappedInput();
  MappedInput(const MappedInput&) = delete;
  MappedInput& operator=(const MappedInput&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string_view bytes() const { return {data_, bytes_}; }

 private:
  MappedInput(std::filesystem::path path, const char* data, size_t bytes);

  std::filesystem::path path_;
  const char* data_;
  size_t bytes_;
  MappedFile known_;
};

}  // namespace regroup
