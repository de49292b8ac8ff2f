// Builds the tasks of a job and their dependencies: a pure function of the job file and of the result of `inspect`.
//
//   [fetch] -> inspect -> calibrate -> align (one per layer) -> [layerwise (one per block)] -> [refine] -> [finetune]
//                   |---> [record] -----------------------------'
//                   `---> evaluate source, evaluate averaged      [finetune] -> export -> evaluate result -> report
//   report -> [upload]
//
// In addition, "evaluate aligned" and "evaluate layerwise" measure the model before what follows.
//
// A sweep repeats the middle for each arm, shares whatever is equal between arms, exports nothing and reports once.
// The graph is never stored; it is built again from the job, so it cannot disagree with it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Most attention layers of a model, and most tasks of a job: each costs memory, and a little time in every decision.
/// The deepest published models have a few hundred layers.
inline constexpr int kMostLayers = 4096;
inline constexpr size_t kMostTasks = 10'000;
/// Most tasks if one that serves several arms counts for each of them: the report of a sweep reads as many results.
inline constexpr size_t kMostTasksOfArms = 50'000;

/// One task, before any attempt.
struct TaskNode {
  /// Unique in the job and readable: "align-003", "finetune-k2-procrustes-l0".
  std::string id;
  v1::TaskKind kind = v1::TASK_KIND_UNSPECIFIED;
  /// The name under which later tasks find its results: "align/3", "evaluate/source".
  std::string role;
  int ranks = 1;
  /// Attention layer of an align task, or the first one of a layerwise task; -1 otherwise.
  int layer = -1;
  /// Number of layers of these tasks.
  int layers = 0;
  /// For evaluate tasks: source | averaged | aligned | layerwise | result.
  std::string subject;
  /// The arms it works for, in order; empty if it does not depend on the arm.
  std::vector<int> arms;
  /// Index in Graph::needs of what it waits for.
  size_t needs = 0;
};

/// The tasks in the order they run, and the arms they belong to.
struct Graph {
  std::vector<TaskNode> tasks;
  std::vector<v1::Arm> arms;
  /// Different lists of positions of tasks. Tasks that wait for the same ones share a list, so that all lists together
  /// have a few entries for each task.
  std::vector<std::vector<size_t>> needs;

  /// Returns the positions of the tasks whose success the task waits for; always earlier ones.
  const std::vector<size_t>& NeedsOf(size_t task) const { return needs[tasks[task].needs]; }

  /// Returns the positions of all tasks that the task builds on, directly or indirectly, in order.
  std::vector<size_t> AncestorsOf(size_t task) const;
};

/// Returns the graph of a job before its model is known: only `inspect`, and what it waits for.
Graph GraphBeforeInspect(const v1::JobSpec& resolved);

/// Returns the graph of a job. INVALID_ARGUMENT if the model has too many layers or the job would have too many tasks;
/// the message names the keys. Takes time and memory that these limits bound, whatever the model claims.
absl::StatusOr<Graph> BuildGraph(const v1::JobSpec& resolved, const v1::ModelSummary& model);

}  // namespace regroup
