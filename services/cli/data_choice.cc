#include "services/cli/data_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <string_view>

#include "services/common/base/data_file_names.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Paths = std::vector<fs::path>;

/// The most items of a list in a job file.
constexpr size_t kMostFiles = 256;

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool BeginsWith(const fs::path& path, std::initializer_list<std::string_view> words) {
  std::string name = path.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return name.starts_with(word); });
}

bool IsValidation(const fs::path& path) { return BeginsWith(path, {"valid", "val.", "val-", "val_", "dev", "eval"}); }

bool IsTest(const fs::path& path) { return BeginsWith(path, {"test"}); }

absl::StatusOr<Paths> DataFilesOf(const fs::path& folder) {
  REGROUP_ASSIGN_OR_RETURN(const Paths entries, EntriesOf(folder));
  Paths files;
  std::copy_if(entries.begin(), entries.end(), std::back_inserter(files),
               [](const fs::path& entry) { return IsDataName(entry.filename().native()) && !IsFolder(entry); });
  if (!files.empty()) return files;
  return absl::InvalidArgumentError(
      fmt::format("{} is a folder without a file named *.jsonl, *.ndjson, *.json or *.parquet", folder.string()));
}

std::optional<uint64_t> BytesOf(const Paths& files) {
  uint64_t bytes = 0;
  for (const fs::path& file : files) {
    std::error_code error;
    if (IsCompressedName(file.native())) return std::nullopt;
    bytes += fs::file_size(file, error);
    if (error) return std::nullopt;
  }
  return bytes;
}

absl::Status CheckNames(const fs::path& data, const DataChoice& choice) {
  if (choice.training.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} has files for evaluation only; add one whose name does not begin with valid, val, dev, eval or "
                    "test",
                    data.string()));
  }
  if (std::max(choice.training.size(), choice.evaluation.size()) > kMostFiles) {
    return absl::InvalidArgumentError(
        fmt::format("{} has more than {} data files; a job file cannot list more. Move the files for evaluation to "
                    "a folder of their own",
                    data.string(), kMostFiles));
  }
  for (const Paths& names : {choice.training, choice.evaluation}) {
    for (const fs::path& name : names) {
      if (name.string().find_first_of("*?[") == std::string::npos) continue;
      return absl::InvalidArgumentError(
          fmt::format("{}: a job file reads *, ? and [ as a pattern; rename it", name.string()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DataChoice> ChooseFromFolder(const fs::path& folder) {
  REGROUP_ASSIGN_OR_RETURN(const Paths files, DataFilesOf(folder));
  DataChoice choice;
  Paths validation, test;
  for (const fs::path& file : files)
    (IsValidation(file) ? validation : IsTest(file) ? test : choice.training).push_back(file);
  choice.training_bytes = BytesOf(choice.training);
  choice.evaluation = validation.empty() ? test : validation;
  // Without files to leave out, the folder is one name for all of its files, and for those that are added to it.
  if (choice.evaluation.empty()) choice.training = {folder};
  return choice;
}

}  // namespace

absl::StatusOr<DataChoice> ChooseData(const fs::path& data) {
  if (!Exists(data)) return absl::NotFoundError(fmt::format("{} does not exist", data.string()));
  DataChoice choice = {.training = {data}, .evaluation = {}, .training_bytes = BytesOf({data})};
  if (IsFolder(data)) {
    REGROUP_ASSIGN_OR_RETURN(choice, ChooseFromFolder(data));
  }
  REGROUP_RETURN_IF_ERROR(CheckNames(data, choice));
  return choice;
}

}  // namespace regroup
