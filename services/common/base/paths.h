// Questions about paths that never throw. The plain functions of std::filesystem do, for a folder that was deleted or
// may not be entered, a loop of links or a name that is too long; tests/architecture/filesystem_calls_test.py keeps
// them out.
//
// Functions may be called from any thread.
#pragma once

#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// Returns true if the path leads to something that this account can see.
bool Exists(const std::filesystem::path& path);

/// Returns true if there is something under this name, a link that leads nowhere too, or an error that names the path
/// if nobody can tell: PERMISSION_DENIED, or INVALID_ARGUMENT for a loop of links and for a name that is too long.
absl::StatusOr<bool> IsTaken(const std::filesystem::path& path);

/// Returns the path from the root. A relative path is taken from the current folder; if that was deleted, it is
/// returned as it is (see CheckCurrentFolder).
std::filesystem::path Absolute(const std::filesystem::path& path);

/// Returns FAILED_PRECONDITION if the current folder was deleted or cannot be read, from which relative paths start.
absl::Status CheckCurrentFolder();

/// Returns what the folder contains, in the order of names.
absl::StatusOr<std::vector<std::filesystem::path>> EntriesOf(const std::filesystem::path& folder);

}  // namespace regroup
