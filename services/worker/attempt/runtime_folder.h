// A private folder with a short path for sockets, the lock and temporary files: unix sockets allow 108 bytes.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// $XDG_RUNTIME_DIR/regroup-<user>-<key>, or the same in /tmp, made with mode 0700. An existing one is used again if it
/// is a folder, ours and private; PERMISSION_DENIED otherwise, because somebody else could listen there.
absl::StatusOr<std::filesystem::path> MakeRuntimeFolder(const std::string& key, const std::string& xdg_runtime_dir);

/// Removes everything in the folder but `keep`.
void EmptyRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& keep);

/// Removes the folder and, as the last thing in it, the lock that the caller holds. A successor may make both again at
/// any moment: what it made stays.
void RemoveRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& lock);

/// A private folder for what the ranks of one attempt share in memory: below /dev/shm, or `otherwise` where that cannot
/// be used. Open MPI names its files there by the machine and the rank's number on its node, so that two workers of one
/// machine that take part in one gang would take each other's.
std::filesystem::path MakeSharedMemoryFolder(const std::string& key, int number,
                                             const std::filesystem::path& otherwise);
/// Removes those that a worker which was killed left behind.
void RemoveSharedMemoryFolders(const std::string& key);

}  // namespace regroup
