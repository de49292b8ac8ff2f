// Notices that a mapped file became shorter. The kernel answers an access to memory that the file no longer has with
// SIGBUS, which would end the process without a word about the file.
//
// May be called from any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>

#include "absl/status/status.h"

namespace regroup {

/// A mapping that is known while the object lives. It neither maps nor unmaps.
class MappedFile {
 public:
  MappedFile(const char* begin, size_t bytes, const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

 private:
  /// Negative if too many files are mapped to know them all.
  int place_;
};

/// Calls `report` once, on a thread of its own, with DATA_LOSS and the path when memory is touched that a mapped file
/// no longer has. The thread that touched it does not go on, so `report` must end the process. To be called once.
void WatchMappedFiles(std::function<void(const absl::Status& status)> report);

}  // namespace regroup
