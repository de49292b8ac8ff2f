#include "trainer/data/data_files.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "services/common/base/data_file_names.h"
#include "services/common/base/file_digest.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Paths = std::vector<fs::path>;

/// How much smaller text usually is when it is compressed, as it is in Parquet too.
constexpr double kCompression = 3.5;

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool IsPattern(std::string_view name) { return name.find_first_of("*?[") != std::string_view::npos; }

absl::Status TooMany(const std::string& name) {
  return absl::InvalidArgumentError(
      fmt::format("{} stands for more than {} files; join some of them", name, kMostDataFiles));
}

absl::StatusOr<Paths> ListFolder(const fs::path& folder) {
  REGROUP_RETURN_IF_ERROR(CheckInputFolder(folder));
  return EntriesOf(folder);
}

absl::StatusOr<Paths> FilesOfFolder(const std::string& folder) {
  REGROUP_ASSIGN_OR_RETURN(const Paths entries, ListFolder(folder));
  Paths files;
  bool has_folders = false;
  for (const fs::path& entry : entries) {
    const std::string name = entry.filename().string();
    const bool is_folder = IsFolder(entry);
    has_folders |= is_folder;
    if (!is_folder && IsDataName(name)) files.push_back(entry);
  }
  if (!files.empty()) return files;
  std::string what = fmt::format("{} is a folder without a file named *.jsonl, *.ndjson, *.json or *.parquet", folder);
  if (has_folders) what += fmt::format("; for those of its folders write {}/*/*.jsonl", folder);
  return absl::InvalidArgumentError(what);
}

/// Appends what the rest of a pattern, from `part` on, fits below `folder`.
absl::Status Match(const fs::path& folder, fs::path::const_iterator part, fs::path::const_iterator end, Paths& found) {
  const bool is_last = std::next(part) == end;
  if (!IsPattern(part->string())) {
    const fs::path next = folder / *part;
    std::error_code error;
    if (!is_last) return IsFolder(next) ? Match(next, std::next(part), end, found) : absl::OkStatus();
    if (fs::exists(next, error)) found.push_back(next);
    return absl::OkStatus();
  }
  REGROUP_ASSIGN_OR_RETURN(const Paths entries, ListFolder(folder));
  for (const fs::path& entry : entries) {
    if (found.size() > kMostDataFiles) return absl::OkStatus();
    if (fnmatch(part->c_str(), entry.filename().c_str(), FNM_PERIOD) != 0 || IsFolder(entry) == is_last) continue;
    if (is_last) {
      found.push_back(entry);
    } else {
      REGROUP_RETURN_IF_ERROR(Match(entry, std::next(part), end, found));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Paths> FilesOfPattern(const std::string& pattern) {
  if (pattern.find("**") != std::string::npos) {
    return absl::InvalidArgumentError(
        fmt::format("{} has '**', which is not read; write '*' for each folder", pattern));
  }
  const fs::path whole = Absolute(pattern);
  Paths found;
  REGROUP_RETURN_IF_ERROR(Match(whole.root_path(), std::next(whole.begin()), whole.end(), found));
  if (found.empty()) return absl::NotFoundError(fmt::format("no file fits the pattern {}", pattern));
  return found;
}

}  // namespace

absl::StatusOr<Paths> DataFilesOf(const std::string& name) {
  std::error_code error;
  const fs::file_type type = fs::status(name, error).type();
  if (type != fs::file_type::directory && (type != fs::file_type::not_found || !IsPattern(name))) return Paths{name};
  REGROUP_ASSIGN_OR_RETURN(Paths files, type == fs::file_type::directory ? FilesOfFolder(name) : FilesOfPattern(name));
  if (files.size() > kMostDataFiles) return TooMany(name);
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.native() < b.native(); });
  return files;
}

absl::StatusOr<DataFiles> FindDataFiles(const std::vector<std::string>& names) {
  DataFiles found{.names = names};
  std::set<fs::path> seen;
  for (const std::string& name : names) {
    REGROUP_ASSIGN_OR_RETURN(const Paths files, DataFilesOf(name));
    for (const fs::path& file : files) {
      if (seen.insert(file).second) continue;
      return absl::InvalidArgumentError(
          fmt::format("{} is named twice, the second time by {}; name it once", file.string(), name));
    }
    found.counts.push_back(files.size());
    found.files.insert(found.files.end(), files.begin(), files.end());
    if (found.files.size() > kMostDataFiles) return TooMany(DescribeNames(names));
  }
  return found;
}

std::vector<std::string> DataFiles::DigestsOfNames(const std::vector<std::string>& of_files) const {
  std::vector<std::string> digests;
  auto next = of_files.begin();
  for (const size_t count : counts) {
    const auto end = next + static_cast<std::ptrdiff_t>(count);
    digests.push_back(CombinedDigest({next, end}));
    next = end;
  }
  return digests;
}

std::string CombinedDigest(const std::vector<std::string>& digests) {
  if (digests.size() == 1) return digests.front();
  std::string lines;
  for (const std::string& digest : digests) lines += digest + "\n";
  return Sha256Of(lines);
}

absl::StatusOr<std::string> DataDigest(const std::string& name, const std::function<void()>& tick) {
  REGROUP_ASSIGN_OR_RETURN(const Paths files, DataFilesOf(name));
  std::vector<std::string> digests;
  for (const fs::path& file : files) {
    REGROUP_ASSIGN_OR_RETURN(digests.emplace_back(), FileDigest(file));
    if (tick) tick();
  }
  return CombinedDigest(digests);
}

std::string DescribeNames(const std::vector<std::string>& names) {
  if (names.empty()) return "";
  if (names.size() == 1) return names.front();
  return fmt::format("{} and {} other{}", names.front(), names.size() - 1, names.size() > 2 ? "s" : "");
}

double EstimateDataBytes(const std::vector<std::string>& names) {
  double bytes = 0;
  for (const std::string& name : names) {
    for (const fs::path& file : DataFilesOf(name).value_or(Paths())) {
      std::error_code error;
      const auto size = fs::file_size(file, error);
      if (!error) bytes += static_cast<double>(size) * (IsCompressedName(file.native()) ? kCompression : 1);
    }
  }
  return bytes;
}

}  // namespace regroup
