// Files and folders that only the account of the program may open, whatever the umask: stores, logs and assignments of
// jobs, keys and tokens.
//
// Every function may be called from any thread; errors are those of files.h.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "absl/status/status.h"

namespace regroup {

inline constexpr mode_t kPrivateFile = 0600;
inline constexpr mode_t kPrivateFolder = 0700;

/// WriteFileAtomically with mode 0600.
absl::Status WritePrivateFile(const std::filesystem::path& path, std::string_view content);

/// Makes the folder with mode 0700, and missing parents by the umask. An existing folder stays as it is: it may be
/// meant for others too.
absl::Status MakePrivateFolder(const std::filesystem::path& path);

/// Keeps accounts outside of its group from writing to what this program and its children make, whatever the umask was.
void KeepOthersFromWriting();

/// Gives an existing file mode 0600. OK if there is none.
absl::Status MakePrivate(const std::filesystem::path& path);

}  // namespace regroup
