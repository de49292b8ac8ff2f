#include "trainer/plan/plan_memory.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "services/common/job_file/arms.h"
#include "trainer/nn/windows_at_once.h"
#include "trainer/plan/settings.h"
#include "trainer/plan/training_memory.h"

namespace regroup {
namespace {

using Arms = std::vector<v1::Arm>;

/// Bytes of one stage: those of the host beside the program, and those with which it computes, on the GPU if it has
/// one.
struct StageBytes {
  double host = 0;
  double computing = 0;
};

int64_t ElementBytes(at::ScalarType type) { return static_cast<int64_t>(at::elementSize(type)); }

double MappedBytes(const SourceModel& source) {
  return static_cast<double>(source.ParameterCount() * ElementBytes(source.dtype()));
}

/// Sets the sequences and tokens of the largest cache.
void SetLargestCache(const v1::Evaluation::Latency& latency, const ModelConfig& config, PlannedEvaluation& planned) {
  int64_t most = 0;
  for (const int32_t batch : latency.batch_sizes()) {
    for (const int32_t context : latency.context_lengths()) {
      const int64_t tokens = context + latency.new_tokens();
      const int64_t bytes = batch * config.KvCacheBytes(tokens, 1);
      if (bytes <= most) continue;
      most = bytes;
      planned.cached_sequences = batch;
      planned.cached_tokens = tokens;
    }
  }
}

StageBytes CalibrateBytes(const v1::JobSpec& spec, const SourceModel& source, bool on_gpu) {
  const ModelConfig& config = source.config();
  const int64_t length = StreamLength(spec.calibration(), config);
  const double statistics = StatisticsBytes(config);
  StageBytes bytes{.host = MappedBytes(source) + statistics,
                   .computing = CalibrationBytes(config, static_cast<double>(WindowsAtOnce(length) * length))};
  // The GPU has the sums of one layer.
  if (on_gpu) bytes.computing += statistics / static_cast<double>(config.layers);
  return bytes;
}

StageBytes EvaluateBytes(const v1::JobSpec& spec, const SourceModel& source, int64_t kv_heads, bool on_gpu) {
  const ModelConfig& config = source.config();
  const v1::Evaluation& evaluation = spec.evaluation();
  PlannedEvaluation planned{
      .kv_heads = kv_heads, .element_bytes = on_gpu ? ElementBytes(source.dtype()) : 4, .in_turns = !on_gpu};
  SetLargestCache(evaluation.latency(), config, planned);
  StageBytes bytes{.host = MappedBytes(source)};
  if (evaluation.has_perplexity()) {
    planned.window_tokens = StreamLength(evaluation.perplexity(), config);
    planned.tokens_at_once = WindowsAtOnce(planned.window_tokens) * planned.window_tokens;
    // The source's predictions are kept on the host.
    const double compared = std::min<double>(kComparedTokens, EstimateTokens(evaluation.perplexity(), config));
    bytes.host += compared * static_cast<double>(config.hidden_size * planned.element_bytes);
  }
  bytes.computing = EvaluationBytes(config, source.ParameterCount(), planned);
  return bytes;
}

StageBytes LayerwiseStageBytes(const v1::JobSpec& spec, const v1::Arm& arm, const SourceModel& source,
                               at::Device device) {
  const ModelConfig& config = source.config();
  const double block = MappedBytes(source) / static_cast<double>(config.layers);
  return {.host = block * LayersPerTask(spec, static_cast<int32_t>(config.layers)),
          .computing = LayerwiseBytes(config, PlanLayers(spec.layerwise(), config, arm.kv_heads(), device))};
}

/// Returns true if the memory suffices to train so: that of a GPU, or of this machine for one rank.
bool Fits(const SourceModel& source, const PlannedTraining& training, const PlanOptions& options) {
  if (!options.runs_here && options.gpu_memory_bytes <= 0) return true;
  const int64_t parameters = source.ParameterCount();
  if (!options.device.is_cuda()) return CheckTrainingMemory(source.config(), parameters, training, 1).ok();
  return CheckGpuTrainingMemory(source.config(), parameters, training, options.gpu_memory_bytes, /*allowance=*/0).ok();
}

PlannedTraining PlanArm(const v1::JobSpec& spec, const v1::Arm& arm, const SourceModel& source,
                        const PlanOptions& options) {
  const v1::Finetune& finetune = spec.finetune();
  PlannedTraining training =
      PlanTraining(spec, source.config(), arm.kv_heads(), arm.finetune() == "l0", options.device);
  for (const Sharding sharding : AllowedSharding(finetune)) {
    SetSharding(sharding, finetune, training);
    if (Fits(source, training, options)) break;
  }
  return training;
}

StageBytes FinetuneBytes(const v1::Finetune& finetune, const SourceModel& source, const PlannedTraining& training) {
  const ModelConfig& config = source.config();
  const double entries = config.ReadsAudio()
                             ? EstimateClips(finetune) * static_cast<double>(SequenceLength(finetune, config))
                             : EstimateTokens(finetune, config);
  // Each entry of a window takes 4 bytes in memory.
  return {.host = MappedBytes(source) + 4 * entries +
                  CheckpointCopyBytes(source.config(), source.ParameterCount(), training),
          .computing = TrainingBytes(source.config(), source.ParameterCount(), training)};
}

/// Collects the largest bytes of each stage.
class Stages {
 public:
  explicit Stages(bool on_gpu) : on_gpu_(on_gpu) {}

  template <typename Set, typename Get>
  void Add(Set set, Get get, const StageBytes& bytes) {
    const double host = ProgramBytes() + bytes.host + (on_gpu_ ? 0 : bytes.computing);
    (memory_.host.*set)(std::max((memory_.host.*get)(), host));
    if (on_gpu_) (memory_.gpu.*set)(std::max((memory_.gpu.*get)(), bytes.computing));
  }
  StageMemory& memory() { return memory_; }

 private:
  const bool on_gpu_;
  StageMemory memory_;
};

}  // namespace

double StatisticsBytes(const ModelConfig& config) {
  const double inner = static_cast<double>(config.kv_heads * config.head_width);
  const double hidden = static_cast<double>(config.hidden_size);
  return static_cast<double>(config.layers) * 8 * (hidden * hidden + inner * inner);
}

PlannedLayers PlanLayers(const v1::Layerwise& layerwise, const ModelConfig& config, int64_t kv_heads,
                         at::Device device) {
  const int64_t length = StreamLength(layerwise, config);
  return {.kv_heads = kv_heads,
          .sequence_length = length,
          .sequences_at_once = WindowsAtOnce(length),
          .sequences_in_training = std::min<int64_t>(WindowsAtOnce(length), layerwise.batch_sequences()),
          .element_bytes = ElementBytes(TrainingType(layerwise.precision(), device)),
          .with_map = layerwise.map_weight() > 0};
}

StageMemory PlanMemory(const v1::JobSpec& resolved, const Arms& arms, const SourceModel& source, int64_t kv_heads,
                       const PlanOptions& options) {
  using Bytes = v1::JobPlan::MemoryBytes;
  const at::Device device = options.device;
  const bool on_gpu = device.is_cuda();
  Stages stages(on_gpu);
  stages.Add(&Bytes::set_calibrate, &Bytes::calibrate, CalibrateBytes(resolved, source, on_gpu));
  stages.Add(&Bytes::set_evaluate, &Bytes::evaluate, EvaluateBytes(resolved, source, kv_heads, on_gpu));
  for (const v1::Arm& arm : arms) {
    if (DistillsLayers(arm)) {
      stages.Add(&Bytes::set_layerwise, &Bytes::layerwise, LayerwiseStageBytes(resolved, arm, source, device));
    }
    if (Trains(arm)) {
      const PlannedTraining training = PlanArm(resolved, arm, source, options);
      stages.memory().sharding = std::max(stages.memory().sharding, training.sharding);
      stages.Add(&Bytes::set_finetune, &Bytes::finetune, FinetuneBytes(resolved.finetune(), source, training));
    }
  }
  return stages.memory();
}

double Largest(const v1::JobPlan::MemoryBytes& memory) {
  return std::max({memory.calibrate(), memory.evaluate(), memory.finetune(), memory.layerwise()});
}

}  // namespace regroup
