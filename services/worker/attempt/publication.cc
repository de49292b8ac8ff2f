#include "services/worker/attempt/publication.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "services/common/base/attempt_files.h"
#include "services/common/base/file_descriptor.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "services/common/base/staging_folder.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/local_paths.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr char kReport[] = "report.json";

/// Opens the report of a published folder without following a link, so that nobody can point at a report elsewhere.
absl::StatusOr<std::string> DigestOfPublished(const fs::path& published) {
  const FileDescriptor folder(open(published.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.valid()) return ErrnoStatus(errno, "open", published);
  const FileDescriptor inner(openat(folder.get(), "regroup", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!inner.valid()) return ErrnoStatus(errno, "open", published / "regroup");
  const FileDescriptor report(openat(inner.get(), kReport, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!report.valid()) return ErrnoStatus(errno, "open", published / "regroup" / kReport);
  const fs::path handle = fmt::format("/proc/self/fd/{}", report.get());
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(handle, kMaxReportBytes));
  return Sha256Of(text);
}

/// Returns true if the folder was made from the report of an attempt of this task.
bool WasPublishedBy(const fs::path& published, const fs::path& task_folder) {
  const absl::StatusOr<std::string> digest = DigestOfPublished(published);
  if (!digest.ok()) return false;
  std::error_code error;
  for (fs::directory_iterator attempt(task_folder, error), end; !error && attempt != end; attempt.increment(error)) {
    const absl::StatusOr<std::string> own =
        ReadFile(attempt->path() / attempt_files::kResults / kReport, kMaxReportBytes);
    if (own.ok() && Sha256Of(*own) == *digest) return true;
  }
  return false;
}

}  // namespace

void RemoveStaged(const v1::Publication& publication) {
  std::error_code ignored;
  std::filesystem::remove_all(publication.staged(), ignored);
}

void RemoveStaged(const v1::TaskAssignment& assignment, const std::filesystem::path& work_folder) {
  if (assignment.kind() != v1::TASK_KIND_REPORT || assignment.spec().output().checkpoint().empty()) return;
  const fs::path output = LocalOutput(assignment.spec(), JobFolder(work_folder, assignment.attempt().job()));
  std::error_code ignored;
  std::filesystem::remove_all(StagingFolder(output, assignment.attempt().job(), assignment.attempt().epoch()), ignored);
}

absl::Status Publish(const v1::Publication& publication, const std::filesystem::path& task_folder) {
  const std::filesystem::path published = publication.published();
  if (WasPublishedBy(published, task_folder)) {
    RemoveStaged(publication);
    return absl::OkStatus();
  }
  const absl::Status renamed = RenameWithoutReplacing(publication.staged(), published);
  if (!absl::IsAlreadyExists(renamed)) return renamed;
  RemoveStaged(publication);
  return absl::AlreadyExistsError(
      fmt::format("output.checkpoint {} exists and was not made by this job; remove it or choose another folder",
                  published.string()));
}

v1::Failure PublicationFailure(const absl::Status& status) {
  v1::Failure failure;
  const bool by_user = absl::IsAlreadyExists(status) || absl::IsPermissionDenied(status);
  failure.set_failure_class(by_user ? v1::FAILURE_CLASS_USER : v1::FAILURE_CLASS_INFRA);
  failure.set_message(fmt::format("the result could not be published: {}", std::string(status.message())));
  return failure;
}

}  // namespace regroup
