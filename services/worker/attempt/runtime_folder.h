// A private folder with a short path for sockets, the lock and temporary files: unix sockets allow 108 bytes.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// Returns $XDG_RUNTIME_DIR/regroup-<user>-<key>, or the same in /tmp, created with mode 0700. An existing one is
/// reused if it is a private folder of this user. One that somebody else made first is left alone, because its maker
/// could listen there, and the next of the names with "-1", "-2" and so on is taken; PERMISSION_DENIED if all are
/// taken.
absl::StatusOr<std::filesystem::path> MakeRuntimeFolder(const std::string& key, const std::string& xdg_runtime_dir);

/// Removes everything in the folder except `keep`.
void EmptyRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& keep);

/// Removes the folder and, as the last thing in it, the lock that the caller holds. A successor may re-create both at
/// any moment; its files are left in place.
void RemoveRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& lock);

/// Creates a private folder for the shared memory files of one attempt's ranks: below /dev/shm, or `otherwise` if that
/// cannot be used. Open MPI names these files after the machine and the rank's number on its node, so two workers on
/// one machine that take part in one gang would overwrite each other's files.
std::filesystem::path MakeSharedMemoryFolder(const std::string& key, int number,
                                             const std::filesystem::path& otherwise);
/// Removes the shared memory folders that a killed worker left behind.
void RemoveSharedMemoryFolders(const std::string& key);

}  // namespace regroup
