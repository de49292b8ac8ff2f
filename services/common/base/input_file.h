// Files that a job names: those of a checkpoint folder, and data. They may have been made by somebody who wants a
// program to read something else, to wait for ever, or to run out of memory.
//
// A file is opened in two steps. The first takes a handle (O_PATH), which follows links but neither waits for a FIFO
// nor touches a device; what the handle leads to must be a regular file in a place that the rules allow. The second
// opens that very file by its handle, so that nothing can be exchanged between the check and the use. openat2 with
// RESOLVE_BENEATH would refuse the links of Hugging Face's caches, which lead from snapshots/ to blobs/ beside it.
//
// May be called from any thread. Errors: NOT_FOUND, PERMISSION_DENIED for a file outside of the allowed places or
// without the right to read, INVALID_ARGUMENT for what is not a regular file or too large, DATA_LOSS for a file that
// became shorter while it was read; each message holds the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/base/file_descriptor.h"

namespace regroup {

/// The variable by which a worker tells its trainers its own data roots: a JSON list of strings.
inline constexpr char kDataRootsVariable[] = "REGROUP_DATA_ROOTS";

/// Says which files may be opened.
struct InputRules {
  /// Folders in which inputs must lie once links are resolved; without a value, every file that the account may read.
  std::optional<std::vector<std::filesystem::path>> roots;
  /// The working folder, whose files this service wrote: a path that is written as one below it is not held against the
  /// roots. Empty for none.
  std::filesystem::path own_folder;
};

/// Sets the rules of this process; at first every file is allowed. Must be called before other threads open files.
void SetInputRules(InputRules rules);

/// Returns the folders that lie in both lists, resolved; an empty list allows all, and so does the absence of a value.
/// A value that is empty allows nothing.
std::optional<std::vector<std::filesystem::path>> CommonRoots(const std::vector<std::filesystem::path>& one,
                                                              const std::vector<std::filesystem::path>& other);

/// Returns true if `path` is `folder` or lies below it. Compares names and does not read the file system.
bool LiesBeneath(const std::filesystem::path& folder, const std::filesystem::path& path);

class InputFile {
 public:
  static absl::StatusOr<InputFile> Open(const std::filesystem::path& path);
  /// Opens a file of a folder that is to be copied. `name` may name subfolders. Links are followed within the folder,
  /// to the blobs of its Hugging Face cache, and to the roots; PERMISSION_DENIED for one that leaves them.
  static absl::StatusOr<InputFile> OpenWithin(const std::filesystem::path& folder, const std::filesystem::path& name);

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return file_.get(); }
  /// Returns the size when it was opened.
  uint64_t bytes() const { return bytes_; }

  /// Reads up to `count` bytes and returns how many; 0 at the end. DATA_LOSS if the end comes before bytes().
  absl::StatusOr<size_t> Read(char* buffer, size_t count);
  /// Returns all of the content, which may have at most `most` bytes.
  absl::StatusOr<std::string> ReadAll(uint64_t most);

 private:
  static absl::StatusOr<InputFile> Open(const std::filesystem::path& path, const std::filesystem::path* within);
  InputFile(std::filesystem::path path, FileDescriptor file, uint64_t bytes)
      : path_(std::move(path)), file_(std::move(file)), bytes_(bytes) {}

  std::filesystem::path path_;
  FileDescriptor file_;
  uint64_t bytes_;
  uint64_t bytes_read_ = 0;
};

/// Returns OK if `path` is a folder whose entries the rules allow to be listed; otherwise the errors of
/// InputFile::Open.
absl::Status CheckInputFolder(const std::filesystem::path& path);

/// Returns the content of an input of at most `most` bytes, by default those of a JSON file.
absl::StatusOr<std::string> ReadInput(const std::filesystem::path& path, uint64_t most = uint64_t{64} << 20);

}  // namespace regroup
