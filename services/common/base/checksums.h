// SHA-256 of the files of a folder, in the format that `sha256sum -c` reads.
//
// Any thread. Errors of the file system name the path.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// SHA-256 in lower-case hexadecimal, by path relative to the folder.
using Checksums = std::map<std::string, std::string>;

/// The name under which checksums lie beside or in the folder that they describe.
inline constexpr char kChecksumFile[] = "SHA256SUMS";

/// Reads every regular file of the folder and of those below it, except kChecksumFile, several at once. A path with a
/// line break or a backslash is INVALID_ARGUMENT: sha256sum writes such names in another way.
/// Calls `tick` on several threads while it reads.
absl::StatusOr<Checksums> ChecksumsOf(
    const std::filesystem::path& folder, const std::function<void()>& tick = [] {});

/// Returns one line for each file: the digest, two spaces, the path.
std::string FormatChecksums(const Checksums& checksums);

/// Reads a file of such lines. DATA_LOSS for any other content, for a path that leaves the folder, and, if `sha256` is
/// given, for a file that does not have this digest itself.
absl::StatusOr<Checksums> ReadChecksums(const std::filesystem::path& file, std::string_view sha256 = {});

/// Compares the files with their checksums, several at once. DATA_LOSS names the first, by path, that is missing or
/// differs. Files without a checksum are not looked at.
absl::Status CheckFiles(const std::filesystem::path& folder, const Checksums& checksums);

}  // namespace regroup
