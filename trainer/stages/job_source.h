// The job's source and data as `inspect` read them. Stages that read them later get the same bytes or DATA_LOSS: a file
// that changed in between, by mistake or on purpose, must not give results under the digest of what was inspected.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Digests of the source as `inspect` found it.
struct InspectedSource {
  SourceDigests weights;
  /// See TokenizerDigest.
  std::string tokenizer;
};

/// Returns a digest of the files that make up the folder's tokenizer, with its chat templates.
absl::StatusOr<std::string> TokenizerDigest(const std::filesystem::path& folder);

/// Copies the small files of a source that `inspect` has opened into its `out` folder, and returns the copies' folder.
absl::StatusOr<std::filesystem::path> KeepSourceFiles(const StageContext& context, const SourceModel& source);

/// Returns the folder with the copies that `inspect` made; the source's own if it is of a release that made none.
absl::StatusOr<std::filesystem::path> SourceFiles(const StageContext& context, const SourceModel& source);

/// Writes what `inspect` found into its `out` folder.
absl::Status WriteInspectedSource(const StageContext& context, const InspectedSource& inspected);

/// Returns what `inspect` found; nothing if this task follows none, or one of a release that recorded nothing.
absl::StatusOr<std::optional<InspectedSource>> ReadInspectedSource(const StageContext& context);

/// Jobs that use what a stage makes of the source.
enum class Users {
  kThisJob,
  /// Other jobs too, also those of other owners, that have a source with the same digest.
  kAllJobs,
};

/// Opens the job's source. Every tensor that is read, and config.json, must be what `inspect` read: DATA_LOSS names the
/// file or the tensor that changed. For all jobs tensors are copied before they are compared, so that the source's
/// owner cannot exchange them at the moment of reading.
absl::StatusOr<SourceModel> OpenSource(const StageContext& context, Users users = Users::kThisJob);

/// Loads the source's tokenizer as `inspect` found it; it returns no id that the model does not have (see
/// bounded_tokenizer.h). DATA_LOSS if `inspect` made no copy and the files changed.
absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadSourceTokenizer(const StageContext& context,
                                                                     const SourceModel& source);

/// Returns the SHA-256 of a data file as `inspect` read it; nothing if it read none of that name.
std::optional<std::string> InspectedDataDigest(const StageContext& context, const std::string& data);

/// Returns the error for a data file whose content is not what `inspect` read.
absl::Status DataChanged(const std::string& data);

}  // namespace regroup
