#include "services/worker/attempt/finished_task.h"

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "services/common/base/attempt_files.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

std::optional<int64_t> EpochOf(const fs::path& attempt) {
  const std::string name = attempt.filename().string();
  int64_t epoch = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), epoch);
  if (error != std::errc() || stop != name.data() + name.size()) return std::nullopt;
  return epoch;
}

/// Removes the entries of a folder for which `keep` is false. Links are removed and not followed.
template <typename Keep>
void RemoveEntries(const fs::path& folder, const Keep& keep) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(folder, error))) return;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (keep(entry->path().filename().string())) continue;
    std::error_code ignored;
    fs::remove_all(entry->path(), ignored);
  }
}

void RemoveWorkOfEarlierAttempt(const fs::path& attempt) {
  RemoveEntries(attempt, [](std::string_view name) {
    return name == attempt_files::kAssignment || name == attempt_files::kLogs || name == attempt_files::kResults;
  });
  RemoveEntries(attempt / attempt_files::kResults,
                [](std::string_view name) { return name == attempt_files::kCurves; });
}

}  // namespace

void RemoveWorkOfFinishedTask(const fs::path& task_folder, int64_t epoch) {
  std::error_code error;
  for (fs::directory_iterator attempt(task_folder, error), end; !error && attempt != end; attempt.increment(error)) {
    const std::optional<int64_t> of_attempt = EpochOf(attempt->path());
    if (of_attempt && *of_attempt < epoch) RemoveWorkOfEarlierAttempt(attempt->path());
  }
  fs::remove_all(task_folder / std::to_string(epoch) / attempt_files::kTrainingCheckpoints, error);
}

}  // namespace regroup
