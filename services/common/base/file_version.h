// Tells whether a file has changed, without reading it.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace regroup {

/// One state of a file: another file in its place, other content, another owner and other rights give another version.
struct FileVersion {
  uint64_t number = 0;
  int64_t bytes = 0;
  int64_t changed_s = 0, changed_ns = 0;
  /// Times of the last change of content or rights.
  int64_t touched_s = 0, touched_ns = 0;

  /// A file that is missing has this version.
  FileVersion() = default;
  explicit FileVersion(const struct stat& file)
      : number(file.st_ino),
        bytes(file.st_size),
        changed_s(file.st_mtim.tv_sec),
        changed_ns(file.st_mtim.tv_nsec),
        touched_s(file.st_ctim.tv_sec),
        touched_ns(file.st_ctim.tv_nsec) {}

  bool operator==(const FileVersion&) const = default;
};

}  // namespace regroup
