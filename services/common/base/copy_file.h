// Copies a file durably, with the real reason where it fails: std::filesystem::copy_file calls a full disk an
// input/output error.
#pragma once

#include <filesystem>

#include "absl/status/status.h"

namespace regroup {

/// Copies the content of `from` into the new file `to` and fsyncs it. ALREADY_EXISTS if `to` exists; other errors as in
/// services/common/base/files.h. After a failure `to` may be there in part. May be called from any thread.
absl::Status CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace regroup
