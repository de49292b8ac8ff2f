#include <fmt/format.h>

#include "services/common/base/files.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/task_kinds.h"
#include "services/common/base/task_roles.h"
#include "services/common/job_file/local_paths.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

/// No retry makes the results of an earlier task again.
absl::Status CannotGoOn(const absl::Status& status) {
  if (!absl::IsNotFound(status) && !absl::IsDataLoss(status)) return status;
  return absl::DataLossError(
      fmt::format("{}: a result of an earlier task of this job is lost or damaged; submit the job again",
                  std::string(status.message())));
}

std::filesystem::path ChecksumFileOf(const std::filesystem::path& out) { return out.parent_path() / kChecksumFile; }

}  // namespace

Stage FindStage(v1::TaskKind kind) {
  for (const NamedStage& stage : AllStages()) {
    if (stage.word == WordOf(kind)) return stage.run;
  }
  return nullptr;
}

std::optional<v1::JobSpec> LocalSpec(const v1::TaskAssignment& assignment, const std::filesystem::path& work_folder) {
  const v1::JobSpec& spec = assignment.spec();
  if (AddressesToFetch(spec).empty() && AddressesToUpload(spec).empty()) return std::nullopt;
  const auto fetched = assignment.inputs().find(kFetchRole);
  const std::filesystem::path folder =
      fetched == assignment.inputs().end() ? work_folder : work_folder / fetched->second;
  return WithLocalPaths(spec, JobFolder(work_folder, assignment.attempt().job()), folder);
}

absl::StatusOr<std::filesystem::path> StageContext::Input(const std::string& role) const {
  const auto entry = assignment.inputs().find(role);
  if (entry == assignment.inputs().end()) {
    return absl::InternalError(
        fmt::format("the assignment of {} has no input '{}'", assignment.attempt().task(), role));
  }
  const std::filesystem::path folder = work_folder / entry->second;
  if (!assignment.input_sha256().contains(role) || checked_inputs.contains(role)) return folder;
  const absl::StatusOr<Checksums> checksums = ReadChecksums(ChecksumFileOf(folder), assignment.input_sha256().at(role));
  if (!checksums.ok()) return CannotGoOn(checksums.status());
  if (const absl::Status checked = CheckFiles(folder, *checksums); !checked.ok()) return CannotGoOn(checked);
  checked_inputs.insert(role);
  return folder;
}

absl::StatusOr<Checksums> StageContext::InputChecksums(const std::string& role) const {
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, Input(role));
  // The attempt of an earlier release left none.
  if (!assignment.input_sha256().contains(role)) return ChecksumsOf(folder);
  return ReadChecksums(ChecksumFileOf(folder), assignment.input_sha256().at(role));
}

absl::StatusOr<std::string> WriteChecksums(const std::filesystem::path& out, const std::function<void()>& tick) {
  REGROUP_ASSIGN_OR_RETURN(const Checksums checksums, ChecksumsOf(out, tick));
  const std::string text = FormatChecksums(checksums);
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(ChecksumFileOf(out), text));
  return Sha256Of(text);
}

}  // namespace regroup
