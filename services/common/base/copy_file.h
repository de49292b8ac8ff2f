// Copies a file durably and reports the real reason of a failure: std::filesystem::copy_file reports a full disk as an
// input/output error.
#pragma once

#include <filesystem>

#include "absl/status/status.h"

namespace regroup {

/// Copies the content of `from` into the new file `to` and fsyncs it. ALREADY_EXISTS if `to` exists; other errors as in
/// services/common/base/files.h. After a failure `to` may be incomplete. May be called from any thread.
absl::Status CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace regroup
