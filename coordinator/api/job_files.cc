#include "coordinator/api/job_files.h"

#include <charconv>
#include <optional>

#include "coordinator/job/job.h"
#include "services/common/base/attempt_files.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/staging_folder.h"
#include "services/common/job_file/address.h"

namespace regroup {
namespace {

void Remove(const std::filesystem::path& path, const std::string& job) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (!error) return;
  LogWarning("cannot remove files of a job", {{"job", job}, {"path", path.string()}, {"reason", error.message()}});
}

/// Returns the epoch in the name of a staging folder; nothing for any other name.
std::optional<int64_t> EpochIn(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  int64_t epoch = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, epoch);
  return error == std::errc() && stop == end ? std::make_optional(epoch) : std::nullopt;
}

int64_t EpochOfReport(const v1::Job& job) {
  for (const v1::Task& task : job.tasks()) {
    if (task.kind() == v1::TASK_KIND_REPORT) return task.epoch();
  }
  return 0;
}

}  // namespace

void RemoveJobFiles(const std::filesystem::path& work_folder, const std::string& job) {
  if (!work_folder.empty() && !job.empty()) Remove(JobFolder(work_folder, job), job);
}

void RemoveStagedResults(const v1::Job& job) {
  // A result for a bucket is staged in the job's own folder.
  if (IsAddress(job.resolved_spec().output().checkpoint())) return;
  const std::filesystem::path output = NamedFolder(job.resolved_spec().output().checkpoint());
  const int64_t last_epoch = EpochOfReport(job);
  if (output.empty() || last_epoch == 0) return;
  const std::string id = LastSegment(job.name());
  const std::string prefix = StagingPrefix(output, id);
  std::error_code error;
  for (std::filesystem::directory_iterator entry(output.parent_path(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::optional<int64_t> epoch = EpochIn(entry->path().filename().string(), prefix);
    if (epoch && *epoch <= last_epoch) Remove(entry->path(), id);
  }
}

}  // namespace regroup
