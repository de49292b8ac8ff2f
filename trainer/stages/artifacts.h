// The names of the files by which stages find each other's results; the roles of the tasks that wrote them are in
// services/common/base/task_roles.h, and the names that workers know too in attempt_files.h beside it.
//
// Each name is defined here once, for the stage that writes and for those that read. Names are relative to the task's
// `out` folder unless stated otherwise.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "services/common/base/task_roles.h"

namespace regroup::artifacts {

// fetch
/// The folder of the working folder in which files from addresses are kept for later jobs.
inline constexpr char kFetchedFiles[] = "fetched";

// inspect
/// The digests of the source's files and tensors (job_source.h).
inline constexpr char kInspectedSource[] = "source.json";
/// A folder with copies of the source's small files: config.json, the tokenizer's, and those that go beside the result.
/// Later stages read these, so that what was inspected is what is used, whatever becomes of the source.
inline constexpr char kSourceFiles[] = "source-files";

// calibrate
/// {"folder": the shared folder of the statistics, relative to the working folder; "sha256": of its checksums}
inline constexpr char kStatisticsPointer[] = "statistics.json";
/// A file in that shared folder.
inline std::string LayerStatistics(int64_t layer) { return fmt::format("layer-{:03}.safetensors", layer); }

// align
/// The alignment of the task's layer.
inline constexpr char kAlignment[] = "alignment.safetensors";
/// The same for one of several numbers of KV heads, if layers may get different ones (target.per_layer).
inline std::string AlignmentWith(int64_t kv_heads) { return fmt::format("alignment-{}.safetensors", kv_heads); }

// record
/// {"folder": the shared folder of the streams, relative to the working folder; "windows", "ranks"; "sha256": of its
/// checksums}
inline constexpr char kStreamsPointer[] = "streams.json";

// layerwise
/// The trained attention of one layer, by the names of VisitBlock.
inline std::string TrainedAttention(int64_t layer) { return fmt::format("attention-{:03}.safetensors", layer); }
/// {"layer", "error_before", "error_after", "kept_start", "steps", "learning_rate", "seconds", "sha256": of the
/// weights}; written after the weights, which it makes valid.
inline std::string LayerRecord(int64_t layer) { return fmt::format("layer-{:03}.json", layer); }

// refine
inline constexpr char kRefinedOutputs[] = "outputs.safetensors";
/// Tensor of that file: the layer's output projection, [hidden, heads x width].
inline std::string RefinedOutputTensor(int64_t layer) {
  return fmt::format("layers.{}.attention.output.weight", layer);
}

// finetune and layerwise
/// The folder of TensorBoard's event files, in the folder of the job: that of each training is named after its task.
inline constexpr char kEvents[] = "events";

// finetune
/// The trained model as a checkpoint folder in the training's element type.
inline constexpr char kTrainedModel[] = "model";

// export
inline constexpr char kCheckpoint[] = "checkpoint";

// evaluate
inline constexpr char kEvaluation[] = "evaluation.json";
/// {"mean_losses": [one per window]}
inline constexpr char kWindowScores[] = "windows.json";
/// The scores of every item of a multiple-choice set.
inline std::string ChoiceScores(std::string_view set) { return fmt::format("choices-{}.json", set); }

// report, both in `out` and in the published folder's `regroup`
inline constexpr char kReport[] = "report.json";
inline constexpr char kReportPage[] = "report.html";

}  // namespace regroup::artifacts
