// Estimates the memory of each stage of a job, on the host and on GPUs.
#pragma once

#include <c10/core/Device.h>

#include <vector>

#include "regroup/v1/job.pb.h"
#include "regroup/v1/plan.pb.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/common/job_file/data_names.h"
#include "trainer/data/data_files.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/plan/plan.h"
#include "trainer/plan/plan_estimate.h"
#include "trainer/plan/settings.h"

namespace regroup {

/// Bytes that one rank of each stage holds. `gpu` is empty on CPUs.
struct StageMemory {
  v1::JobPlan::MemoryBytes host, gpu;
  /// The largest part that an arm shards.
  Sharding sharding = Sharding::kOptimizer;
};

/// Plans the stages of these arms of a job whose defaults are filled in. `kv_heads` is the largest target. With
/// `shard: auto`, as little is sharded as fits: on unknown machines the optimizer's state alone, and on GPUs of unknown
/// memory as much as possible.
StageMemory PlanMemory(const v1::JobSpec& resolved, const std::vector<v1::Arm>& arms, const SourceModel& source,
                       int64_t kv_heads, const PlanOptions& options);

/// Returns the quantities from which LayerwiseBytes and LayerwiseFlops compute their figures.
PlannedLayers PlanLayers(const v1::Layerwise& layerwise, const ModelConfig& config, int64_t kv_heads,
                         at::Device device = at::kCPU);

/// Returns the bytes of the sums over tokens, in float64: second moments of inputs, and the Grams of unit-length heads.
double StatisticsBytes(const ModelConfig& config);

/// Returns the number of windows of audio and transcript in the data of a message, from the size of its files.
template <typename Message>
double EstimateClips(const Message& message) {
  // Bytes of a line with a path and the words of a clip of 20 s.
  constexpr double kBytes = 300;
  return EstimateDataBytes(DataNames(message)) / kBytes;
}

/// Returns the number of tokens in the data of a message, from the size of its files; those of both streams where the
/// encoder reads audio.
template <typename Message>
double EstimateTokens(const Message& message, const ModelConfig& config) {
  if (config.ReadsAudio()) return EstimateClips(message) * static_cast<double>(StreamLength(message, config));
  // Bytes of a token in English text.
  constexpr double kBytes = 4;
  return EstimateDataBytes(DataNames(message)) / kBytes;
}

/// Returns the largest of the stages' figures.
double Largest(const v1::JobPlan::MemoryBytes& memory);

}  // namespace regroup
