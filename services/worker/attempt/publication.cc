#include "services/worker/attempt/publication.h"

#include <fmt/format.h>

#include <filesystem>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/staging_folder.h"

namespace regroup {
namespace {

constexpr const char* kRecords[] = {"report.json", "job.json"};

/// Returns the job named under "job" in a JSON file, without "jobs/"; empty if there is none.
std::string JobNamedIn(const std::filesystem::path& file) {
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (!text.ok()) return "";
  const auto record = nlohmann::json::parse(*text, nullptr, false);
  if (!record.is_object() || !record.contains("job") || !record["job"].is_string()) return "";
  const std::string name = record["job"].get<std::string>();
  return name.starts_with("jobs/") ? name.substr(5) : name;
}

bool WasPublishedBy(const std::filesystem::path& published, const std::string& job) {
  for (const char* record : kRecords) {
    if (JobNamedIn(published / "regroup" / record) == job) return true;
  }
  return false;
}

}  // namespace

void RemoveStaged(const v1::Publication& publication) {
  std::error_code ignored;
  std::filesystem::remove_all(publication.staged(), ignored);
}

void RemoveStaged(const v1::TaskAssignment& assignment) {
  const std::string& output = assignment.spec().output().checkpoint();
  if (assignment.kind() != v1::TASK_KIND_REPORT || output.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(StagingFolder(output, assignment.attempt().job(), assignment.attempt().epoch()), ignored);
}

absl::Status Publish(const v1::Publication& publication, const std::string& job) {
  const std::filesystem::path published = publication.published();
  if (WasPublishedBy(published, job)) {
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
