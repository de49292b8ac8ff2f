// report: gathers the figures, checks the gates, and stages the result so that one rename publishes it.
//
// The exported checkpoint is staged next to its final name (hard links if the file system supports them, else copies),
// because a rename needs one file system. The worker renames once the coordinator agrees.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "services/common/base/copy_file.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/staging_folder.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/job_file.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/report/data.h"
#include "trainer/report/page.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/report_inputs.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

absl::Status LinkOrCopy(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_hard_link(from, to, error);
  return error ? CopyFile(from, to) : absl::OkStatus();
}

/// Removes staged folders that an earlier attempt of this job left behind.
void RemoveStaged(const fs::path& parent, const std::string& prefix) {
  std::error_code error;
  for (const fs::path& entry : EntriesOf(parent).value_or(std::vector<fs::path>())) {
    if (entry.filename().string().starts_with(prefix)) fs::remove_all(entry, error);
  }
}

absl::StatusOr<fs::path> StageCheckpoint(const StageContext& context, const fs::path& output) {
  REGROUP_ASSIGN_OR_RETURN(const fs::path exported, context.Input(kExportRole));
  REGROUP_RETURN_IF_ERROR(MakeFolders(output.parent_path()));
  const v1::AttemptId& attempt = context.assignment.attempt();
  RemoveStaged(output.parent_path(), StagingPrefix(output, attempt.job()));
  const fs::path staged = StagingFolder(output, attempt.job(), attempt.epoch());
  REGROUP_RETURN_IF_ERROR(MakeFolders(staged));
  const fs::path checkpoint = exported / artifacts::kCheckpoint;
  std::error_code error;
  fs::recursive_directory_iterator entry(checkpoint, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    const fs::path target = staged / entry->path().lexically_relative(checkpoint);
    const bool is_folder = entry->is_directory(error);
    REGROUP_RETURN_IF_ERROR(is_folder ? MakeFolders(target) : LinkOrCopy(entry->path(), target));
  }
  if (error) return ErrnoStatus(error.value(), "list", checkpoint);
  return staged;
}

/// Writes the checksums of the staged folder: those of the exported files as their task recorded them, which the links
/// share, and those of the report.
absl::Status WritePublishedChecksums(const StageContext& context, const fs::path& staged, const fs::path& report) {
  REGROUP_ASSIGN_OR_RETURN(const Checksums exported, context.InputChecksums(kExportRole));
  REGROUP_ASSIGN_OR_RETURN(const Checksums own, ChecksumsOf(report));
  Checksums all;
  const std::string prefix = std::string(artifacts::kCheckpoint) + "/";
  for (const auto& [path, digest] : exported) all[path.substr(prefix.size())] = digest;
  for (const auto& [path, digest] : own) all[(report.lexically_relative(staged) / path).string()] = digest;
  return WriteFileAtomically(report / kChecksumFile, FormatChecksums(all));
}

absl::Status WriteReport(const fs::path& folder, const nlohmann::ordered_json& report) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(folder / artifacts::kReport, report.dump(1) + "\n"));
  return WriteFileAtomically(folder / artifacts::kReportPage, RenderReport(report));
}

/// Writes the groups and transforms of all layers to one file: "layers.<index>.<tensor>".
absl::Status WriteAlignments(const StageContext& context, const ModelConfig& config, const fs::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, config));
  const std::vector<LayerAlignment>& alignments = conversion.alignments();
  NamedTensors tensors;
  for (size_t layer = 0; layer < alignments.size(); ++layer) {
    for (auto& [name, tensor] : alignments[layer].ToTensors()) {
      tensors.emplace_back(fmt::format("layers.{}.{}", layer, name), tensor);
    }
  }
  return SaveTensors(file, tensors);
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunReport(StageContext& context) {
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::ordered_json report, CollectReport(context, source.config()));
  REGROUP_RETURN_IF_ERROR(WriteReport(context.out(), report));
  REGROUP_RETURN_IF_ERROR(CheckGates(context.spec().gates(), report));
  v1::TaskOutcome outcome;
  outcome.set_report_folder(Absolute(context.out()).string());
  if (context.spec().has_sweep()) return outcome;

  const fs::path output = NamedFolder(context.spec().output().checkpoint());
  REGROUP_ASSIGN_OR_RETURN(const fs::path staged, StageCheckpoint(context, output));
  const fs::path folder = staged / "regroup";
  REGROUP_RETURN_IF_ERROR(WriteReport(folder, report));
  REGROUP_RETURN_IF_ERROR(WriteAlignments(context, source.config(), folder / artifacts::kAlignment));
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(folder / "job.yaml", FormatJobFile(context.assignment.spec())));
  REGROUP_RETURN_IF_ERROR(WritePublishedChecksums(context, staged, folder));
  REGROUP_RETURN_IF_ERROR(SyncPath(staged));
  outcome.mutable_publication()->set_staged(staged.string());
  outcome.mutable_publication()->set_published(output.string());
  return outcome;
}

}  // namespace regroup
