// Names in the folder of an attempt, jobs/<job>/<task>/<epoch> of the working folder, that trainers and workers share.
#pragma once

namespace regroup::attempt_files {

/// Assignment of the coordinator.
inline constexpr char kAssignment[] = "assignment.json";
/// Output of the ranks.
inline constexpr char kLogs[] = "logs";
/// The results, which later tasks read.
inline constexpr char kResults[] = "out";
/// Training checkpoints: later attempts resume from them.
inline constexpr char kTrainingCheckpoints[] = "checkpoints";
/// In the results: the curves of a training, one JSON object per step, {"step": ..., "loss": ...}. The report shows
/// those of all attempts.
inline constexpr char kCurves[] = "curves.jsonl";

}  // namespace regroup::attempt_files
