#include "services/common/base/paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "services/common/base/files.h"

namespace regroup {

namespace fs = std::filesystem;

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

absl::StatusOr<bool> IsTaken(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return false;
  if (error) return ErrnoStatus(error.value(), "look at", path);
  return true;
}

fs::path Absolute(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = path.is_absolute() ? path : fs::current_path(error) / path;
  return error ? path : absolute;
}

absl::Status CheckCurrentFolder() {
  std::error_code error;
  (void)fs::current_path(error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("the current folder cannot be used ({}); change to another and try again", error.message()));
}

absl::StatusOr<std::vector<fs::path>> EntriesOf(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    entries.push_back(entry->path());
  }
  if (error) return ErrnoStatus(error.value(), "list", folder);
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace regroup
