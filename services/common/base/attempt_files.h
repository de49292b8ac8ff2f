// Names in the folder of an attempt, jobs/<job>/<task>/<epoch> of the working folder, that trainers and workers share.
#pragma once

#include <filesystem>
#include <string>

namespace regroup {

/// Returns the folder of a job in the working folder; that of an attempt is <task>/<epoch> in it.
inline std::filesystem::path JobFolder(const std::filesystem::path& work_folder, const std::string& job) {
  return work_folder / "jobs" / job;
}

}  // namespace regroup

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
/// In the results of `fetch`: what its addresses led to, for the report.
inline constexpr char kFetched[] = "fetched.json";

}  // namespace regroup::attempt_files
