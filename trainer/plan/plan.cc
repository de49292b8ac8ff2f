#include "trainer/plan/plan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "services/common/base/stopwatch.h"
#include "services/common/job_file/arms.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/serving.h"
#include "trainer/parallel/device_name.h"
#include "trainer/plan/check_target.h"
#include "trainer/plan/describe.h"
#include "trainer/plan/plan_estimate.h"
#include "trainer/plan/plan_memory.h"
#include "trainer/plan/serving_rows.h"
#include "trainer/plan/settings.h"
#include "trainer/plan/training_memory.h"

namespace regroup {
namespace {

using Arms = std::vector<v1::Arm>;

/// Measures this machine's rate on matrix products of the model's shapes, for about a second.
double ProbeFlopsPerSecond(const ModelConfig& config) {
  const int64_t tokens = 256;
  const at::Tensor x = at::randn({tokens, config.hidden_size});
  const at::Tensor weight = at::randn({config.intermediate_size, config.hidden_size});
  const double each = 2.0 * static_cast<double>(tokens * config.hidden_size * config.intermediate_size);
  at::linear(x, weight);
  const Stopwatch watch;
  int64_t done = 0;
  for (; done < 3 || watch.Seconds() < 1; ++done) at::linear(x, weight);
  return static_cast<double>(done) * each / watch.Seconds();
}

/// Returns the number of arms that train.
double TrainedArms(const Arms& arms) { return static_cast<double>(std::count_if(arms.begin(), arms.end(), Trains)); }

/// Returns the tokens of one arm's training, if it trains.
double TrainingTokens(const v1::Finetune& finetune, const ModelConfig& config) {
  return static_cast<double>(finetune.steps()) * static_cast<double>(finetune.batch_sequences()) *
         static_cast<double>(StreamLength(finetune, config));
}

double LayeredArms(const Arms& arms) {
  return static_cast<double>(std::count_if(arms.begin(), arms.end(), DistillsLayers));
}

/// Returns the tokens of the text of layerwise distillation: at most those that the job asks for.
double LayerwiseTextTokens(const v1::Layerwise& layerwise, const ModelConfig& config) {
  const double asked =
      static_cast<double>(layerwise.sequences()) * static_cast<double>(StreamLength(layerwise, config));
  const double there = EstimateTokens(layerwise, config);
  return there > 0 ? std::min(asked, there) : asked;
}

double EvaluationTokens(const v1::Evaluation& evaluation, const ModelConfig& config) {
  if (!evaluation.has_perplexity()) return 0;
  const v1::Evaluation::Perplexity& perplexity = evaluation.perplexity();
  const double most =
      static_cast<double>(perplexity.max_windows()) * static_cast<double>(StreamLength(perplexity, config));
  const double all = EstimateTokens(perplexity, config);
  return most > 0 ? std::min(most, all) : all;
}

/// Returns the tokens that all measurements during one arm's training read.
double MeasuredTokens(const v1::JobSpec& spec, const ModelConfig& config) {
  const v1::Finetune& finetune = spec.finetune();
  const int64_t every = finetune.evaluate_every_steps();
  if (every == 0) return 0;
  // One follows the last step, too.
  const double times = std::ceil(static_cast<double>(finetune.steps()) / static_cast<double>(every));
  const double each = static_cast<double>(finetune.evaluate_windows()) *
                      static_cast<double>(StreamLength(spec.evaluation().perplexity(), config));
  return times * std::min(each, EvaluationTokens(spec.evaluation(), config));
}

v1::JobPlan::Tokens TokensOf(const v1::JobSpec& spec, const Arms& arms, const ModelConfig& config) {
  v1::JobPlan::Tokens tokens;
  tokens.set_calibration(static_cast<double>(spec.calibration().sequences()) *
                         static_cast<double>(StreamLength(spec.calibration(), config)));
  tokens.set_training(TrainedArms(arms) * TrainingTokens(spec.finetune(), config));
  tokens.set_evaluation(EvaluationTokens(spec.evaluation(), config));
  if (LayeredArms(arms) > 0) {
    tokens.set_layerwise(LayeredArms(arms) * static_cast<double>(spec.layerwise().passes()) *
                         LayerwiseTextTokens(spec.layerwise(), config));
  }
  return tokens;
}

double JobFlops(const v1::JobSpec& spec, const Arms& arms, const ModelConfig& config,
                const v1::JobPlan::Tokens& tokens) {
  const int64_t length = StreamLength(spec.finetune(), config);
  const double source = ForwardFlops(config, config.kv_heads, length);
  double flops = source * tokens.calibration();
  for (const v1::Arm& arm : arms) {
    if (!DistillsLayers(arm)) continue;
    const double text = LayerwiseTextTokens(spec.layerwise(), config);
    const PlannedLayers planned = PlanLayers(spec.layerwise(), config, arm.kv_heads());
    // The source passes once to record its streams, and once more to collect the targets.
    const double once = ForwardFlops(config, config.kv_heads, planned.sequence_length);
    flops += text * (2 * once + static_cast<double>(spec.layerwise().passes()) * LayerwiseFlops(config, planned));
  }
  for (const v1::Arm& arm : arms) {
    if (!Trains(arm)) continue;
    const double training = TrainingFlops(config, arm.kv_heads(), arm.finetune() == "l0", length);
    flops += training * TrainingTokens(spec.finetune(), config);
    const int64_t measured_length = StreamLength(spec.evaluation().perplexity(), config);
    flops += MeasuredTokens(spec, config) * ForwardFlops(config, arm.kv_heads(), measured_length);
  }
  // Evaluation runs the source, the averages, the alignment and the result, and compares the result with the source.
  return flops + source * tokens.evaluation() * (1 + 4 * static_cast<double>(arms.size()));
}

/// Returns the bytes of the recorded streams, and of the working copies of one task: streams before and behind a layer,
/// and what its attention adds.
double StreamBytes(const v1::JobSpec& spec, const Arms& arms, const ModelConfig& config) {
  if (LayeredArms(arms) == 0) return 0;
  const double each = 2 * LayerwiseTextTokens(spec.layerwise(), config) * static_cast<double>(config.hidden_size);
  const int32_t layers = static_cast<int32_t>(config.layers);
  const int32_t in_task = std::min(layers, LayersPerTask(spec, layers));
  const int32_t borders = (layers + in_task - 1) / in_task;
  return each * (borders + 1 + std::min(2, in_task - 1));
}

/// Returns the bytes of two training checkpoints, the statistics, the streams, and each result.
double StorageBytes(const v1::JobSpec& spec, const Arms& arms, const SourceModel& source) {
  const ModelConfig& config = source.config();
  const double element = static_cast<double>(at::elementSize(source.dtype()));
  double bytes = StatisticsBytes(config);
  bytes += StreamBytes(spec, arms, config);
  for (const v1::Arm& arm : arms) {
    const double result = static_cast<double>(ParametersWith(config, source.ParameterCount(), arm.kv_heads()));
    bytes += result * element;
    if (!Trains(arm)) continue;
    const PlannedTraining training = PlanTraining(spec, config, arm.kv_heads(), arm.finetune() == "l0", at::kCPU);
    bytes += result * element +
             2 * CheckpointCopyBytes(config, source.ParameterCount(), training) * static_cast<double>(training.ranks);
  }
  return bytes;
}

v1::JobPlan::Model DescribeModel(const SourceModel& source) {
  const ModelConfig& config = source.config();
  v1::JobPlan::Model model;
  model.set_family(config.family);
  model.set_layers(static_cast<int32_t>(config.layers));
  model.set_heads(static_cast<int32_t>(config.heads));
  model.set_kv_heads(static_cast<int32_t>(config.kv_heads));
  model.set_head_width(static_cast<int32_t>(config.head_width));
  model.set_parameters(static_cast<double>(source.ParameterCount()));
  model.set_dtype(DtypeName(source.dtype()));
  return model;
}

/// Returns the shape of the result with the fewest KV heads.
ModelConfig SmallestResult(const ModelConfig& source, int64_t kv_heads) {
  ModelConfig result = source;
  result.kv_heads = kv_heads;
  result.kv_heads_of_layers.clear();
  return result;
}

v1::JobPlan::KvBytesPerToken CacheBytes(const SourceModel& source, const ModelConfig& result) {
  const auto element = static_cast<int64_t>(at::elementSize(source.dtype()));
  v1::JobPlan::KvBytesPerToken bytes;
  bytes.set_source(static_cast<double>(source.config().KvCacheBytesPerToken(element)));
  bytes.set_result(static_cast<double>(result.KvCacheBytesPerToken(element)));
  return bytes;
}

v1::JobPlan::ServedModel DescribeServing(const Serving& serving) {
  v1::JobPlan::ServedModel served;
  served.set_can_be_split(serving.can_be_split);
  served.set_kv_heads_per_gpu(static_cast<int32_t>(serving.kv_heads_per_gpu));
  served.set_kv_bytes_per_token(static_cast<double>(serving.kv_bytes_per_token));
  if (serving.capacity) {
    served.set_tokens(static_cast<double>(serving.capacity->tokens));
    served.set_requests(static_cast<double>(serving.capacity->requests));
    served.set_longest_context(static_cast<double>(serving.capacity->longest_context));
  }
  return served;
}

void AddServing(const v1::JobSpec& spec, const SourceModel& source, const ModelConfig& result, v1::JobPlan& plan) {
  const ServedSource served{.config = source.config(),
                            .parameters = source.ParameterCount(),
                            .element_bytes = static_cast<int64_t>(at::elementSize(source.dtype()))};
  for (const ServingRow& row : ServingRows(spec, served, result)) {
    v1::JobPlan::Serving& serving = *plan.add_serving();
    serving.set_gpus(static_cast<int32_t>(row.gpus));
    *serving.mutable_source() = DescribeServing(row.source);
    *serving.mutable_result() = DescribeServing(row.result);
  }
  plan.set_serving_context_length(static_cast<double>(ServedContext(spec, source.config())));
}

/// Names the numbers of GPUs that take nothing from the conversion, or that only the source can be distributed over.
void AddServingNotes(v1::JobPlan& plan) {
  std::vector<int32_t> useless, impossible;
  for (const v1::JobPlan::Serving& row : plan.serving()) {
    if (!row.source().can_be_split() || row.gpus() == 1) continue;
    if (!row.result().can_be_split()) {
      impossible.push_back(row.gpus());
    } else if (row.result().kv_bytes_per_token() >= row.source().kv_bytes_per_token()) {
      useless.push_back(row.gpus());
    }
  }
  if (plan.kv_bytes_per_token().result() < plan.kv_bytes_per_token().source() && !useless.empty()) {
    plan.add_notes(fmt::format("over {} GPUs each holds as many KV heads as before: nothing is saved there",
                               fmt::join(useless, " or ")));
  }
  if (!impossible.empty()) {
    plan.add_notes(fmt::format("the result's KV heads cannot be distributed over {} GPUs, the source's can",
                               fmt::join(impossible, " or ")));
  }
}

void AddNotes(const v1::JobSpec& spec, const ModelConfig& config, v1::JobPlan& plan) {
  if (const std::string note = NoteOnSplitHeads(spec, config); !note.empty()) plan.add_notes(note);
  AddServingNotes(plan);
  if (plan.tokens().evaluation() > 0) {
    plan.add_notes("the evaluation's tokens are estimated from the size of its file");
  }
  if (plan.stream_bytes() > 0) {
    plan.add_notes(
        "the streams of layerwise distillation include the working copies of one task; each task that runs beside it "
        "needs as much again");
  }
  if (spec.has_sweep()) plan.add_notes("sweep: operations, storage and time cover all combinations");
}

/// Adds whether the job fits into a GPU. Its memory is given or that of this machine's GPUs.
void AddGpu(const PlanOptions& options, v1::JobPlan& plan) {
  const double bytes = options.gpu_memory_bytes;
  if (!options.device.is_cuda() || bytes <= 0) return;
  plan.set_gpu_memory_bytes(bytes);
  plan.set_gpu_fits(plan.gpu_memory_bytes_per_rank() + kGpuReserveBytes <= bytes);
  if (plan.gpu_fits()) return;
  *(options.gpu_memory_is_of_machine ? plan.add_machine_notes() : plan.add_notes()) = fmt::format(
      "the largest rank and {:.1f} GiB for CUDA need more than the {:.1f} GiB of a GPU; train with shard: all, "
      "recompute: block, train: lora or attention, fewer micro_batch_sequences, or more ranks",
      kGpuReserveBytes / (1 << 30), bytes / (1 << 30));
}

/// Says so if a rank of the smallest gang with which training may go on lacks memory, where one of the whole gang does
/// not.
void AddLeastRanks(const v1::JobSpec& resolved, const Arms& arms, const SourceModel& source, int64_t kv_heads,
                   const PlanOptions& options, v1::JobPlan& plan) {
  const v1::Finetune& finetune = resolved.finetune();
  if (!finetune.has_min_ranks() || finetune.min_ranks() >= finetune.ranks() || TrainedArms(arms) == 0) return;
  v1::JobSpec shrunk = resolved;
  shrunk.mutable_finetune()->set_ranks(finetune.min_ranks());
  const StageMemory memory = PlanMemory(shrunk, arms, source, kv_heads, options);
  const auto add = [&](double bytes, double room, bool is_of_machine) {
    if (bytes <= room) return;
    *(is_of_machine ? plan.add_machine_notes() : plan.add_notes()) = fmt::format(
        "with {} ranks, which finetune.min_ranks allows, each needs {:.1f} GiB and has {:.1f} GiB: training that loses "
        "a machine would wait for more ranks",
        finetune.min_ranks(), bytes / (1 << 30), room / (1 << 30));
  };
  if (plan.gpu_fits()) {
    add(Largest(memory.gpu) + kGpuReserveBytes, options.gpu_memory_bytes, options.gpu_memory_is_of_machine);
  } else if (!options.device.is_cuda() && plan.fits()) {
    add(Largest(memory.host), plan.machine_memory_bytes(), /*is_of_machine=*/true);
  }
}

/// Adds the rate of a rank and the time. Only that of a CPU can be measured here.
void AddTime(const ModelConfig& config, const PlanOptions& options, v1::JobPlan& plan) {
  if (options.device.is_cuda() && options.flops_per_second <= 0) {
    plan.add_machine_notes("for the time on GPUs, give the speed of one with --flops-per-second");
    return;
  }
  plan.set_rate_is_measured(options.flops_per_second <= 0);
  plan.set_flops_per_second(plan.rate_is_measured() ? ProbeFlopsPerSecond(config) : options.flops_per_second);
  plan.set_threads(at::get_num_threads());
  plan.set_device_name(DeviceName(at::kCPU));
  plan.set_seconds(plan.flops() / plan.flops_per_second() / plan.ranks());
  plan.add_machine_notes(
      "the estimate of the time covers matrix multiplications only, on ranks like this machine; reading text and "
      "loading models come on top");
}

/// Adds the figures that hold for this machine only.
void AddMachine(const ModelConfig& config, const PlanOptions& options, v1::JobPlan& plan) {
  const double memory = MachineBytes();
  plan.set_machine_memory_bytes(memory);
  plan.set_fits(plan.memory_bytes_per_rank() <= memory);
  if (!plan.fits()) {
    plan.add_machine_notes(
        fmt::format("the largest rank needs more than the {:.1f} GiB of this machine; train with more ranks, "
                    "fewer micro_batch_sequences, or bfloat16",
                    memory / (1 << 30)));
  }
  AddTime(config, options, plan);
}

}  // namespace

absl::StatusOr<v1::JobPlan> PlanJob(const v1::JobSpec& resolved, const SourceModel& source,
                                    const PlanOptions& options) {
  const ModelConfig& config = source.config();
  const std::vector<int32_t> targets = TargetsOf(resolved);
  REGROUP_RETURN_IF_ERROR(CheckTarget(resolved, config));
  const Arms arms = ArmsOf(resolved, static_cast<int32_t>(config.kv_heads));
  // The result with the most KV heads needs the most memory.
  const int32_t kv_heads = targets.front();
  v1::JobPlan plan;
  *plan.mutable_model() = DescribeModel(source);
  plan.mutable_result_kv_heads()->Assign(targets.begin(), targets.end());
  plan.set_result_parameters(static_cast<double>(ParametersWith(config, source.ParameterCount(), kv_heads)));
  const ModelConfig smallest = SmallestResult(config, targets.back());
  *plan.mutable_kv_bytes_per_token() = CacheBytes(source, smallest);
  if (const std::string note = NoteOnCache(config, smallest, static_cast<int64_t>(at::elementSize(source.dtype())));
      !note.empty()) {
    plan.add_notes(note);
  }
  AddServing(resolved, source, smallest, plan);
  *plan.mutable_tokens() = TokensOf(resolved, arms, config);
  plan.set_flops(JobFlops(resolved, arms, config, plan.tokens()));
  StageMemory memory = PlanMemory(resolved, arms, source, kv_heads, options);
  *plan.mutable_memory_bytes() = std::move(memory.host);
  if (memory.sharding == Sharding::kGradients) {
    plan.add_notes("finetune keeps on each rank only its slice of the gradients (shard: gradients)");
  }
  if (memory.sharding == Sharding::kAll) {
    plan.add_notes("finetune keeps on each rank only its slice of gradients and weights (shard: all)");
  }
  if (!options.runs_here && resolved.finetune().shard() == "auto" && resolved.finetune().ranks() > 1 &&
      TrainedArms(arms) > 0) {
    plan.add_notes(
        "finetune keeps on each rank only its slice of gradients, and of weights, where whole ones do not fit");
  }
  plan.set_memory_bytes_per_rank(Largest(plan.memory_bytes()));
  if (options.device.is_cuda()) {
    *plan.mutable_gpu_memory_bytes_of_stages() = std::move(memory.gpu);
    plan.set_gpu_memory_bytes_per_rank(Largest(plan.gpu_memory_bytes_of_stages()));
  }
  plan.set_storage_bytes(StorageBytes(resolved, arms, source));
  plan.set_stream_bytes(StreamBytes(resolved, arms, config));
  plan.set_ranks(TrainedArms(arms) > 0 ? std::max(1, resolved.finetune().ranks()) : 1);
  AddNotes(resolved, config, plan);
  AddGpu(options, plan);
  AddMachine(config, options, plan);
  AddLeastRanks(resolved, arms, source, kv_heads, options, plan);
  return plan;
}

}  // namespace regroup
