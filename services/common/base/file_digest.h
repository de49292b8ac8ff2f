// Computes the digest that identifies a data file by its content.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace regroup {

/// Returns the SHA-256 of the file's bytes, reading them in pieces, and calls `tick` before each. The errors are those
/// of InputFile. Any thread.
absl::StatusOr<std::string> FileDigest(
    const std::filesystem::path& path, const std::function<void()>& tick = [] {});

/// Does the same for a file that this service wrote: the rules for inputs do not apply to it, and it must be no link.
absl::StatusOr<std::string> OwnFileDigest(
    const std::filesystem::path& path, const std::function<void()>& tick = [] {});

}  // namespace regroup
