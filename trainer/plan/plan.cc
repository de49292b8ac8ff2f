#include "trainer/plan/plan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "services/common/base/status_macros.h"
#include "services/common/base/stopwatch.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/parallel/device_name.h"
#include "trainer/plan/describe.h"
#include "trainer/plan/plan_estimate.h"
#include "trainer/plan/settings.h"
#include "trainer/plan/training_memory.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// English text has about this many bytes for a token.
constexpr double kBytesPerToken = 4;

/// Products of the shapes that a model has, for about a second.
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

double FileBytes(const std::string& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  return error ? 0 : static_cast<double>(size);
}

struct Tokens {
  double calibration = 0, training = 0, evaluation = 0;
};

Tokens TokensOf(const v1::JobSpec& spec, const ModelConfig& config) {
  Tokens tokens;
  tokens.calibration = static_cast<double>(spec.calibration().sequences()) *
                       static_cast<double>(SequenceLength(spec.calibration(), config));
  if (spec.finetune().method() != "none") {
    tokens.training = static_cast<double>(spec.finetune().steps()) *
                      static_cast<double>(spec.finetune().batch_sequences()) *
                      static_cast<double>(SequenceLength(spec.finetune(), config));
  }
  if (spec.evaluation().has_perplexity()) {
    const v1::Evaluation::Perplexity& perplexity = spec.evaluation().perplexity();
    const double most =
        static_cast<double>(perplexity.max_windows()) * static_cast<double>(SequenceLength(perplexity, config));
    const double all = FileBytes(perplexity.data()) / kBytesPerToken;
    tokens.evaluation = most > 0 ? std::min(most, all) : all;
  }
  return tokens;
}

std::vector<int64_t> TargetsOf(const v1::JobSpec& spec, const ModelConfig& config) {
  std::vector<int64_t> targets(spec.sweep().kv_heads().begin(), spec.sweep().kv_heads().end());
  if (targets.empty()) targets.push_back(spec.target().has_kv_heads() ? spec.target().kv_heads() : config.kv_heads);
  std::sort(targets.rbegin(), targets.rend());
  return targets;
}

/// Combinations of a sweep; 1 otherwise.
double Arms(const v1::JobSpec& spec) {
  const auto count = [](int values) { return std::max(1, values); };
  const v1::Sweep& sweep = spec.sweep();
  return static_cast<double>(count(sweep.kv_heads_size()) * count(sweep.alignment_size()) * count(sweep.refine_size()) *
                             count(sweep.finetune_size()));
}

/// Those that train.
double TrainedArms(const v1::JobSpec& spec) {
  const auto& methods = spec.sweep().finetune();
  if (methods.empty()) return spec.finetune().method() == "none" ? 0 : Arms(spec);
  const auto trained =
      std::count_if(methods.begin(), methods.end(), [](const auto& method) { return method != "none"; });
  return Arms(spec) * static_cast<double>(trained) / static_cast<double>(methods.size());
}

int64_t MostCachedTokens(const v1::Evaluation::Latency& latency) {
  int64_t most = 0;
  for (const int32_t batch : latency.batch_sizes()) {
    for (const int32_t context : latency.context_lengths()) {
      most = std::max<int64_t>(most, static_cast<int64_t>(batch) * (context + latency.new_tokens()));
    }
  }
  return most;
}

/// Each kind of rank: the program, the mapped source, and what the stage holds.
Json PlanMemory(const v1::JobSpec& spec, const SourceModel& source, int64_t kv_heads) {
  const ModelConfig& config = source.config();
  const int64_t parameters = source.ParameterCount();
  const double mapped = static_cast<double>(parameters * static_cast<int64_t>(at::elementSize(source.dtype())));
  const double shared = ProgramBytes() + mapped;
  Json stages = Json::object();
  if (spec.finetune().method() != "none") {
    const v1::Finetune& finetune = spec.finetune();
    const PlannedTraining training =
        PlanTraining(finetune, config, kv_heads, finetune.method() == "l0", finetune.precision() == "bfloat16" ? 2 : 4);
    // Tokens are held as 4 bytes each.
    const double text = FileBytes(finetune.data()) / kBytesPerToken * 4;
    stages["finetune"] = shared + text + TrainingBytes(config, parameters, training);
  }
  const v1::Evaluation& evaluation = spec.evaluation();
  stages["evaluate"] = shared + EvaluationBytes(config, parameters, kv_heads, evaluation.has_perplexity(),
                                                evaluation.has_latency(), MostCachedTokens(evaluation.latency()));
  stages["calibrate"] = shared + 4.0 * static_cast<double>(parameters);
  return stages;
}

double Largest(const Json& stages) {
  double largest = 0;
  for (const auto& [name, bytes] : stages.items()) largest = std::max(largest, bytes.get<double>());
  return largest;
}

double JobFlops(const v1::JobSpec& spec, const ModelConfig& config, int64_t kv_heads, const Tokens& tokens) {
  const int64_t length = SequenceLength(spec.finetune(), config);
  const double source = ForwardFlops(config, config.kv_heads, length);
  const double training = TrainingFlops(config, kv_heads, spec.finetune().method() == "l0", length);
  // Evaluation: source, averages, alignment, result, and the agreement of result and source.
  return source * tokens.calibration + training * tokens.training * TrainedArms(spec) +
         source * tokens.evaluation * (1 + 4 * Arms(spec));
}

/// Two checkpoints of training, the statistics, and each result.
double StorageBytes(const v1::JobSpec& spec, const SourceModel& source, int64_t kv_heads) {
  const ModelConfig& config = source.config();
  const double result = static_cast<double>(ParametersWith(config, source.ParameterCount(), kv_heads));
  const double element = static_cast<double>(at::elementSize(source.dtype()));
  const double inner = static_cast<double>(config.kv_heads * config.head_width);
  const double hidden = static_cast<double>(config.hidden_size);
  const double statistics = static_cast<double>(config.layers) * 8 * (hidden * hidden + inner * inner);
  return statistics + Arms(spec) * result * element + TrainedArms(spec) * result * (element + 2 * 12);
}

/// What holds for this machine only.
Json MachineNotes(double memory) {
  Json notes = Json::array();
  if (memory > MachineBytes()) {
    notes.push_back(
        fmt::format("the largest rank needs more than the {:.1f} GiB of this machine; train with more ranks, "
                    "fewer micro_batch_sequences, or bfloat16",
                    MachineBytes() / (1 << 30)));
  }
  notes.push_back(
      "time is that of the products alone, on ranks like this machine; text is read and models are loaded besides");
  return notes;
}

Json Notes(const v1::JobSpec& spec, const Tokens& tokens) {
  Json notes = Json::array();
  if (spec.evaluation().has_perplexity() && tokens.evaluation == 0) {
    notes.push_back("the evaluation's file is not on this machine: it counts nothing here");
  }
  if (tokens.evaluation > 0) notes.push_back("tokens of the evaluation are estimated from the size of its file");
  if (spec.has_sweep()) notes.push_back("a sweep: operations, storage and time are those of all combinations");
  return notes;
}

}  // namespace

absl::StatusOr<Json> PlanJob(const v1::JobSpec& spec, const PlanOptions& options) {
  const auto source = SourceModel::Open(spec.source().checkpoint());
  if (!source.ok()) {
    return absl::Status(source.status().code(), "source.checkpoint: " + std::string(source.status().message()));
  }
  const ModelConfig& config = source->config();
  const std::vector<int64_t> targets = TargetsOf(spec, config);
  for (const int64_t target : targets) {
    if (target >= 1 && config.kv_heads % target == 0) continue;
    return absl::InvalidArgumentError(
        fmt::format("target.kv_heads: {} does not divide the source's {} KV heads", target, config.kv_heads));
  }
  // The largest result needs most.
  const int64_t kv_heads = targets.front();
  const auto element = static_cast<int64_t>(at::elementSize(source->dtype()));
  ModelConfig result = config;
  result.kv_heads = targets.back();
  result.kv_heads_of_layers.clear();
  const Tokens tokens = TokensOf(spec, config);
  const Json memory = PlanMemory(spec, *source, kv_heads);
  const double rate = options.flops_per_second > 0 ? options.flops_per_second : ProbeFlopsPerSecond(config);
  const double flops = JobFlops(spec, config, kv_heads, tokens);
  const int64_t ranks = spec.finetune().method() == "none" ? 1 : std::max(1, spec.finetune().ranks());
  return Json{{"model",
               {{"family", config.family},
                {"layers", config.layers},
                {"heads", config.heads},
                {"kv_heads", config.kv_heads},
                {"head_width", config.head_width},
                {"parameters", source->ParameterCount()},
                {"dtype", DtypeName(source->dtype())}}},
              {"result_kv_heads", targets},
              {"result_parameters", ParametersWith(config, source->ParameterCount(), kv_heads)},
              {"kv_bytes_per_token",
               {{"source", config.KvCacheBytesPerToken(element)}, {"result", result.KvCacheBytesPerToken(element)}}},
              {"tokens",
               {{"calibration", tokens.calibration},
                {"training", tokens.training * TrainedArms(spec)},
                {"evaluation", tokens.evaluation}}},
              {"flops", flops},
              {"memory_bytes", memory},
              {"memory_bytes_per_rank", Largest(memory)},
              {"machine_memory_bytes", MachineBytes()},
              {"fits", Largest(memory) <= MachineBytes()},
              {"storage_bytes", StorageBytes(spec, *source, kv_heads)},
              {"flops_per_second", rate},
              {"rate_is_measured", options.flops_per_second <= 0},
              {"threads", at::get_num_threads()},
              {"device_name", DeviceName(at::kCPU)},
              {"ranks", ranks},
              {"seconds", flops / rate / static_cast<double>(ranks)},
              {"machine_notes", MachineNotes(Largest(memory))},
              {"notes", Notes(spec, tokens)}};
}

}  // namespace regroup
