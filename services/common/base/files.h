// File operations that survive a crash, with errors that name the file.
//
// Every function may be called from any thread. Errors: NOT_FOUND for a missing file, ALREADY_EXISTS for a taken name,
// RESOURCE_EXHAUSTED for a full disk, PERMISSION_DENIED, otherwise INTERNAL; each message holds the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// Returns the status for an errno, with the attempted operation and the path.
absl::Status ErrnoStatus(int error_number, std::string_view attempted, const std::filesystem::path& path);

/// Returns INVALID_ARGUMENT for a file of more than `most` bytes, with its name, its size and the bound.
absl::Status TooLarge(const std::filesystem::path& path, uint64_t bytes, uint64_t most);

/// Bound of a report, which holds matrices for each layer and each arm of a sweep.
inline constexpr uint64_t kMaxReportBytes = uint64_t{1} << 30;

/// Returns the content of a file that this service or its operators wrote; for the files that a job names, see
/// input_file.h. INVALID_ARGUMENT for a file of more than `most` bytes, before it is read if its size is known.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, uint64_t most = uint64_t{64} << 20);

/// Writes a temporary name, fsyncs it, renames it to `path` and fsyncs the folder: readers see the old content or the
/// new, never a part.
absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view content);

/// Makes the folder and its missing parents; an existing folder is fine.
absl::Status MakeFolders(const std::filesystem::path& path);

/// Renames without replacing. ALREADY_EXISTS if `to` exists in any form. Both folders are fsynced.
absl::Status RenameWithoutReplacing(const std::filesystem::path& from, const std::filesystem::path& to);

/// Makes a finished file or folder entry durable.
absl::Status SyncPath(const std::filesystem::path& path);

}  // namespace regroup
