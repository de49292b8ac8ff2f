#include "trainer/plan/training_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "services/common/base/process_memory.h"
#include "trainer/nn/loss_chunk.h"
#include "trainer/nn/windows_at_once.h"
#include "trainer/plan/settings.h"

namespace regroup {
namespace {

constexpr double kGiB = 1 << 30;

std::string WhatHelps(const PlannedTraining& training) {
  return fmt::format(
      "to reduce memory: {}recompute: block, train: lora or attention, fewer micro_batch_sequences, "
      "precision: bfloat16, or ranks on more machines",
      training.sharding == Sharding::kAll || training.ranks == 1 ? ""
      : training.compares_attention                              ? "shard: gradients, "
                                                                 : "shard: all, ");
}

/// Returns the first choice for auto.
Sharding ShardingOf(const std::string& shard) {
  if (shard == "all") return Sharding::kAll;
  return shard == "gradients" ? Sharding::kGradients : Sharding::kOptimizer;
}

/// Converts finetune.recompute to the forward pass's option.
Recompute RecomputeOf(const v1::Finetune& finetune) {
  if (finetune.recompute() == "block") return Recompute::kBlock;
  return finetune.recompute() == "feed_forward" ? Recompute::kFeedForward : Recompute::kNothing;
}

}  // namespace

double ProgramBytes() { return static_cast<double>(MemoryInUse().resident); }

double MachineBytes() { return static_cast<double>(UsableMemory()); }

bool TrainsAttentionOnly(const v1::Finetune& finetune, const ModelConfig& config) {
  return finetune.train() == "attention" || (finetune.train() == "auto" && config.experts.count > 0);
}

std::vector<Sharding> AllowedSharding(const v1::Finetune& finetune) {
  if (finetune.shard() != "auto" || finetune.ranks() == 1) return {ShardingOf(finetune.shard())};
  std::vector<Sharding> allowed = {Sharding::kOptimizer, Sharding::kGradients};
  if (finetune.teacher() != "cache" && !(finetune.attention_weight() > 0)) allowed.push_back(Sharding::kAll);
  return allowed;
}

void SetSharding(Sharding sharding, const v1::Finetune& finetune, PlannedTraining& training) {
  const bool makes_weights = training.gated || training.adapter_rank > 0;
  const bool recomputes = sharding == Sharding::kAll && (makes_weights || finetune.shard() == "auto");
  training.sharding = sharding;
  training.recompute = recomputes ? Recompute::kBlock : RecomputeOf(finetune);
}

PlannedTraining PlanTraining(const v1::JobSpec& spec, const ModelConfig& config, int64_t kv_heads, bool gated,
                             at::Device device) {
  const v1::Finetune& finetune = spec.finetune();
  const auto element_bytes = static_cast<int64_t>(at::elementSize(TrainingType(finetune.precision(), device)));
  const int64_t length = StreamLength(finetune, config);
  PlannedTraining training{
      .kv_heads = kv_heads,
      .gated = gated,
      .ranks = finetune.ranks(),
      .micro_batch_tokens = finetune.micro_batch_sequences() * length,
      .sequence_length = length,
      .element_bytes = element_bytes,
      .sums_apart = element_bytes < 4 &&
                    finetune.batch_sequences() > int64_t{finetune.ranks()} * finetune.micro_batch_sequences(),
      .whole_blocks = device.is_cuda() && finetune.ranks() > 1 ? 2 : 1,
      .writes_checkpoints = finetune.checkpoint_every_steps() > 0,
      .attention_only = TrainsAttentionOnly(finetune, config),
      .adapter_rank = finetune.train() == "lora" ? finetune.lora_rank() : 0,
      .compares_attention = finetune.attention_weight() > 0,
      .loss_chunk_tokens = LossChunkTokens(device)};
  if (finetune.evaluate_every_steps() > 0) {
    const int64_t measured = StreamLength(spec.evaluation().perplexity(), config);
    training.measured_tokens = WindowsAtOnce(measured) * measured;
  }
  SetSharding(ShardingOf(finetune.shard()), finetune, training);
  return training;
}

absl::Status CheckTrainingMemory(const ModelConfig& config, int64_t parameters, const PlannedTraining& training,
                                 int64_t ranks_here) {
  const double each =
      ProgramBytes() + TrainingBytes(config, parameters, training) + CheckpointCopyBytes(config, parameters, training);
  if (each * static_cast<double>(ranks_here) <= MachineBytes()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("finetune: a rank needs {:.1f} GiB and {} of them run on this machine, which has {:.1f} GiB; {}",
                  each / kGiB, ranks_here, MachineBytes() / kGiB, WhatHelps(training)));
}

absl::Status CheckGpuTrainingMemory(const ModelConfig& config, int64_t parameters, const PlannedTraining& training,
                                    double gpu_bytes, double allowance) {
  const double needed = TrainingBytes(config, parameters, training) + kGpuReserveBytes;
  if (needed <= (1 + allowance) * gpu_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("finetune: a rank needs {:.1f} GiB of its GPU, which has {:.1f} GiB; {}", needed / kGiB,
                  gpu_bytes / kGiB, WhatHelps(training)));
}

}  // namespace regroup
