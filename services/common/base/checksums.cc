#include "services/common/base/checksums.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <thread>
#include <vector>

#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/for_each_index.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigestLength = 64;
constexpr unsigned kMostThreads = 8;

bool HasPlainName(const std::string& path) { return path.find_first_of("\n\r\\") == std::string::npos; }

/// Returns the paths of the folder's files, relative to it, in their order.
absl::StatusOr<std::vector<std::string>> FilesIn(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!at->is_regular_file(error) || at->is_symlink(error)) continue;
    std::string path = at->path().lexically_relative(folder).string();
    if (at->path().filename() == kChecksumFile) continue;
    if (!HasPlainName(path)) {
      return absl::InvalidArgumentError(
          fmt::format("{} has a file whose name contains a line break or a backslash", folder.string()));
    }
    files.push_back(std::move(path));
  }
  if (error) return ErrnoStatus(error.value(), "list", folder);
  std::sort(files.begin(), files.end());
  return files;
}

/// Returns the digest of each file, in their order.
std::vector<absl::StatusOr<std::string>> DigestEach(
    const fs::path& folder, const std::vector<std::string>& files, const std::function<void()>& tick = [] {}) {
  std::vector<absl::StatusOr<std::string>> digests(files.size());
  ForEachIndex(files.size(), std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads),
               [&](size_t i) { digests[i] = OwnFileDigest(folder / files[i], tick); });
  return digests;
}

bool IsDigest(std::string_view text) {
  return text.size() == kDigestLength && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool StaysInside(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  return !path.empty() && normal.is_relative() && *normal.begin() != "..";
}

}  // namespace

absl::StatusOr<Checksums> ChecksumsOf(const fs::path& folder, const std::function<void()>& tick) {
  REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesIn(folder));
  const std::vector<absl::StatusOr<std::string>> digests = DigestEach(folder, files, tick);
  Checksums checksums;
  for (size_t i = 0; i < files.size(); ++i) {
    REGROUP_ASSIGN_OR_RETURN(checksums[files[i]], digests[i]);
  }
  return checksums;
}

std::string FormatChecksums(const Checksums& checksums) {
  std::string text;
  for (const auto& [path, digest] : checksums) text += fmt::format("{}  {}\n", digest, path);
  return text;
}

absl::StatusOr<Checksums> ReadChecksums(const fs::path& file, std::string_view sha256) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  if (!sha256.empty() && Sha256Of(text) != sha256) {
    return absl::DataLossError(fmt::format("{} is not the one that its task wrote", file.string()));
  }
  Checksums checksums;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string digest = line.substr(0, kDigestLength);
    const std::string path = line.size() > kDigestLength + 2 ? line.substr(kDigestLength + 2) : "";
    const bool is_separated = line.compare(std::min(kDigestLength, line.size()), 2, "  ") == 0;
    if (!IsDigest(digest) || !is_separated || !HasPlainName(path) || !StaysInside(path)) {
      return absl::DataLossError(fmt::format("{} is damaged: a line is not a checksum", file.string()));
    }
    checksums[path] = digest;
  }
  return checksums;
}

absl::Status CheckFiles(const fs::path& folder, const Checksums& checksums) {
  std::vector<std::string> files;
  for (const auto& [path, digest] : checksums) files.push_back(path);
  const std::vector<absl::StatusOr<std::string>> found = DigestEach(folder, files);
  for (size_t i = 0; i < files.size(); ++i) {
    const fs::path file = folder / files[i];
    if (absl::IsNotFound(found[i].status())) return absl::DataLossError(fmt::format("{} is missing", file.string()));
    REGROUP_RETURN_IF_ERROR(found[i].status());
    if (*found[i] != checksums.at(files[i])) {
      return absl::DataLossError(
          fmt::format("{} is damaged: its SHA-256 is not the one that was recorded when it was "
                      "written",
                      file.string()));
    }
  }
  return absl::OkStatus();
}

}  // namespace regroup
