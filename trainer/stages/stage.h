// A stage is one kind of task, run by all ranks of an attempt. CMakeLists.txt lists the stages.
//
// A stage reads the folders of earlier attempts, computes, writes into its own `out` folder and returns the outcome. A
// failed status becomes the attempt's failure; its code determines the failure class (see outcome.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/common/base/attempt_files.h"
#include "services/common/base/checksums.h"
#include "trainer/link/worker_link.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// Everything that a stage may use. Lives as long as the attempt; belongs to the main thread.
struct StageContext {
  const v1::TaskAssignment& assignment;
  std::filesystem::path work_folder;
  std::filesystem::path attempt_folder;
  Communicator& communicator;
  WorkerLink& link;
  at::Device device;

  /// Returns the job file with a path in place of each address; assignment.spec() has them as they were written.
  const v1::JobSpec& spec() const { return local_spec ? *local_spec : assignment.spec(); }
  /// Folder to which this attempt writes its results; it exists.
  std::filesystem::path out() const { return attempt_folder / attempt_files::kResults; }
  bool leads() const { return communicator.rank() == 0; }
  /// Returns the folder with the results of an earlier task, by its role. INTERNAL if the coordinator gave none;
  /// DATA_LOSS names the file that is not as its task left it. Files are compared once for each role.
  absl::StatusOr<std::filesystem::path> Input(const std::string& role) const;
  /// Returns the checksums of that folder.
  absl::StatusOr<Checksums> InputChecksums(const std::string& role) const;

  /// Roles whose files were compared.
  mutable std::set<std::string> checked_inputs = {};
  /// Without a value for a job without addresses.
  std::optional<v1::JobSpec> local_spec = std::nullopt;
};

/// Returns the context's local_spec.
std::optional<v1::JobSpec> LocalSpec(const v1::TaskAssignment& assignment, const std::filesystem::path& work_folder);

/// Writes the checksums of `out` beside it, durably, and returns the SHA-256 of that list.
/// `tick` is called while they are computed.
absl::StatusOr<std::string> WriteChecksums(
    const std::filesystem::path& out, const std::function<void()>& tick = [] {});

using Stage = absl::StatusOr<v1::TaskOutcome> (*)(StageContext& context);

/// A stage and the word of its kind of task.
struct NamedStage {
  std::string_view word;
  Stage run = nullptr;
};

/// Returns every stage of this build, from the generated table.
std::span<const NamedStage> AllStages();

/// Returns null for a kind that this build does not know.
Stage FindStage(v1::TaskKind kind);

}  // namespace regroup
