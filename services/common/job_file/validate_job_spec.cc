#include "services/common/job_file/validate_job_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>
#include <string>
#include <string_view>

#include "services/common/job_file/address.h"
#include "services/common/job_file/allowed_paths.h"
#include "services/common/job_file/arms.h"
#include "services/common/job_file/data_names.h"
#include "services/common/job_file/known_words.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "services/common/job_file/spec_checks.h"

namespace regroup {
namespace {

/// Collects the violations of one job. Each Check... looks at one section of a resolved job.
class Validation : private SpecChecks {
 public:
  explicit Validation(const v1::JobSpec& written) : spec_(ResolveJobSpec(written)) {}

  std::vector<FieldViolation> Run() {
    CheckName();
    CheckWord("recipe", spec_.recipe(), kRecipes);
    Require("source.checkpoint", spec_.source().checkpoint(), "write the folder of the checkpoint to convert");
    CheckTarget();
    CheckCalibration();
    CheckAlignment();
    CheckLayerwise();
    CheckFinetune();
    CheckEvaluation();
    CheckServing();
    CheckGates();
    CheckSweep();
    CheckOutput();
    CheckResources();
    CheckLabels();
    CheckPaths();
    return TakeViolations();
  }

 private:
  /// Checks the keys that name a section's data; `is_required` says that the job cannot do without it.
  template <typename Section>
  void CheckData(const std::string& section, const Section& message, bool is_required, std::string_view what_to_do) {
    const std::string files = section + ".data_files";
    if (is_required && !HasData(message)) Add(section + ".data", "is missing; {}", what_to_do);
    if (!message.data().empty() && !message.data_files().empty()) {
      Add(files, "and {}.data are both given; write one of them", section);
    }
    CheckList(files, message.data_files(), [&](const std::string& item, const std::string& name) {
      if (name.empty()) Add(item, "is empty; write a file, a folder or a pattern");
    });
    if (message.field().size() > 255 || HasControls(message.field()) ||
        (message.has_field() && message.field().empty())) {
      Add(section + ".field", "is not a name; use 1 to 255 bytes without control characters");
    }
  }

  void CheckName() {
    const std::string& name = spec_.name();
    const auto allowed = [](unsigned char c) { return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '-'; };
    const auto edge = [&](char c) { return c != '-'; };
    const bool good = !name.empty() && name.size() <= 40 && std::all_of(name.begin(), name.end(), allowed) &&
                      edge(name.front()) && edge(name.back());
    if (name.empty()) {
      Add("name", "is missing; write a name for the job, for example llama-gqa2");
    } else if (!good) {
      Add("name", "'{}' is not a name; use at most 40 lower-case letters, digits and inner hyphens", Shown(name));
    }
  }

  void CheckTarget() {
    if (spec_.target().has_kv_heads()) {
      CheckRange("target.kv_heads", spec_.target().kv_heads(), 1, kMostHeads);
    } else if (spec_.sweep().kv_heads().empty()) {
      Add("target.kv_heads", "is missing; write the number of KV heads of the result");
    }
    CheckWord("target.per_layer", spec_.target().per_layer(), kPerLayerWords);
    CheckTensorParallel();
  }

  void CheckTensorParallel() {
    if (!spec_.target().has_tensor_parallel()) return;
    const int32_t gpus = spec_.target().tensor_parallel();
    CheckRange("target.tensor_parallel", gpus, 1, kMostHeads);
    if (gpus < 1) return;
    if (gpus > 1 && spec_.target().per_layer() == "auto") {
      Add("target.tensor_parallel", "needs the same number of heads in every layer; write per_layer: none");
    }
    for (const int32_t heads : TargetsOf(spec_)) {
      if (heads < 1 || heads % gpus == 0 || gpus % heads == 0) continue;
      Add("target.tensor_parallel", "{} GPUs cannot share {} KV heads equally; one number must divide the other", gpus,
          heads);
    }
  }

  void CheckServing() {
    const v1::Serving& serving = spec_.serving();
    const auto is_in = [](double value, double most) { return std::isfinite(value) && value > 0 && value <= most; };
    if (serving.has_gpu_memory_gib() && !is_in(serving.gpu_memory_gib(), 1e6)) {
      Add("serving.gpu_memory_gib", "is {}; write the memory of a GPU in GiB, for example 80",
          serving.gpu_memory_gib());
    }
    if (serving.has_memory_share() && !is_in(serving.memory_share(), 1)) {
      Add("serving.memory_share", "is {}; write a number above 0 and at most 1", serving.memory_share());
    }
    if (serving.has_context_length()) CheckRange("serving.context_length", serving.context_length(), 1, 1 << 30);
    if (serving.has_cache_dtype()) CheckWord("serving.cache_dtype", serving.cache_dtype(), kCacheDtypes);
  }

  void CheckCalibration() {
    const v1::Calibration& calibration = spec_.calibration();
    CheckData("calibration", calibration, NeedsStatistics(), kTextNeeded);
    CheckRange("calibration.sequences", calibration.sequences(), 1, 1 << 24);
    CheckSequenceLength("calibration.sequence_length", calibration);
    CheckRange("calibration.ranks", calibration.ranks(), 1, kMostRanks);
    if (calibration.ranks() > calibration.sequences()) {
      Add("calibration.ranks", "is {}, more than calibration.sequences ({}); each rank needs at least one",
          calibration.ranks(), calibration.sequences());
    }
  }

  template <typename Section>
  void CheckSequenceLength(std::string_view field, const Section& section) {
    if (section.has_sequence_length()) CheckRange(field, section.sequence_length(), 2, 1 << 22);
  }

  void CheckAlignment() {
    const v1::Alignment& alignment = spec_.alignment();
    CheckWord("alignment.method", alignment.method(), kAlignmentMethods);
    CheckWord("alignment.compare", alignment.compare(), kCompareWords);
    CheckWord("alignment.similarity", alignment.similarity(), kSimilarities);
    if (alignment.seed() < 0) Add("alignment.seed", "is {}; write 0 or more", alignment.seed());
  }

  void CheckLayerwise() {
    const v1::Layerwise& layerwise = spec_.layerwise();
    CheckWord("layerwise.method", layerwise.method(), kLayerwiseMethods);
    CheckData("layerwise", layerwise, AnyArmDistillsLayers(spec_), kTextNeeded);
    CheckRange("layerwise.sequences", layerwise.sequences(), 1, 1 << 24);
    CheckSequenceLength("layerwise.sequence_length", layerwise);
    CheckRange("layerwise.passes", layerwise.passes(), 1, 1 << 16);
    CheckRange("layerwise.batch_sequences", layerwise.batch_sequences(), 1, 1 << 16);
    if (layerwise.has_layers_per_task()) {
      CheckRange("layerwise.layers_per_task", layerwise.layers_per_task(), 1, 1 << 16);
    }
    if (layerwise.has_learning_rate()) CheckRate("layerwise.learning_rate", layerwise.learning_rate());
    CheckWeight("layerwise.map_weight", layerwise.map_weight());
    CheckWord("layerwise.precision", layerwise.precision(), kPrecisions);
    if (layerwise.seed() < 0) Add("layerwise.seed", "is {}; write 0 or more", layerwise.seed());
  }

  void CheckWeight(std::string_view field, double weight) {
    if (!(weight >= 0 && weight <= 1e6)) Add(field, "is {}; write a number from 0 to 1,000,000", weight);
  }

  void CheckRate(std::string_view field, double rate) {
    if (!(rate > 0 && rate <= 1)) Add(field, "is {}; write a number above 0 and at most 1", rate);
  }

  void CheckFinetune() {
    const v1::Finetune& finetune = spec_.finetune();
    CheckWord("finetune.method", finetune.method(), kFinetuneMethods);
    CheckData("finetune", finetune, AnyArmTrains(spec_), kTextNeeded);
    if (AnyArmTrains(spec_) && !finetune.has_steps()) {
      Add("finetune.steps", "is missing; write the number of optimizer steps");
    }
    if (finetune.loss() == "bild" && finetune.has_field()) {
      Add("finetune.field", "has no meaning with loss: bild, which reads \"prompt\" and \"completion\"; remove it");
    }
    if (finetune.has_steps()) CheckRange("finetune.steps", finetune.steps(), 1, 100'000'000);
    CheckRange("finetune.batch_sequences", finetune.batch_sequences(), 1, 1 << 20);
    CheckRange("finetune.micro_batch_sequences", finetune.micro_batch_sequences(), 1, 1 << 16);
    CheckRange("finetune.ranks", finetune.ranks(), 1, kMostRanks);
    if (finetune.min_ranks() != finetune.ranks()) {
      CheckRange("finetune.min_ranks", finetune.min_ranks(), 1, std::max(1, finetune.ranks()));
    }
    CheckRange("finetune.checkpoint_every_steps", finetune.checkpoint_every_steps(), 0, 100'000'000);
    CheckSequenceLength("finetune.sequence_length", finetune);
    CheckWord("finetune.precision", finetune.precision(), kPrecisions);
    CheckWord("finetune.train", finetune.train(), kTrainedWords);
    CheckWord("finetune.recompute", finetune.recompute(), kRecomputeWords);
    CheckWord("finetune.teacher", finetune.teacher(), kTeacherWords);
    CheckWord("finetune.shard", finetune.shard(), kShardWords);
    if (finetune.shard() == "all" && finetune.teacher() == "cache") {
      Add("finetune.shard", "is all, which needs the teacher of every rank in every step; write teacher: compute");
    }
    CheckWord("finetune.loss", finetune.loss(), kLossWords);
    CheckRange("finetune.lora_rank", finetune.lora_rank(), 1, 1 << 14);
    if (!(finetune.lora_alpha() > 0 && finetune.lora_alpha() <= 1e6)) {
      Add("finetune.lora_alpha", "is {}; write a number above 0 and at most 1,000,000", finetune.lora_alpha());
    }
    if (finetune.has_learning_rate()) CheckRate("finetune.learning_rate", finetune.learning_rate());
    CheckAttentionWeight();
    CheckMeasurements();
    if (finetune.seed() < 0) Add("finetune.seed", "is {}; write 0 or more", finetune.seed());
    CheckBatch();
  }

  /// Checks the measurements during training.
  void CheckMeasurements() {
    const v1::Finetune& finetune = spec_.finetune();
    CheckRange("finetune.evaluate_every_steps", finetune.evaluate_every_steps(), 0, 100'000'000);
    CheckRange("finetune.evaluate_windows", finetune.evaluate_windows(), 1, 1 << 24);
    CheckRange("finetune.stop_when_no_better", finetune.stop_when_no_better(), 0, 1 << 16);
    if (finetune.evaluate_every_steps() > 0 && !spec_.evaluation().has_perplexity()) {
      Add("finetune.evaluate_every_steps", "needs a text to measure on; add evaluation.perplexity");
    }
    if (finetune.stop_when_no_better() > 0 && finetune.evaluate_every_steps() == 0) {
      Add("finetune.stop_when_no_better", "needs measurements during training; write evaluate_every_steps");
    }
  }

  void CheckAttentionWeight() {
    const v1::Finetune& finetune = spec_.finetune();
    constexpr std::string_view field = "finetune.attention_weight";
    CheckWeight(field, finetune.attention_weight());
    if (!(finetune.attention_weight() > 0)) return;
    if (finetune.teacher() == "cache") {
      Add(field, "needs the teacher's attention outputs, which teacher: cache does not keep; write teacher: compute");
    }
    if (finetune.recompute() == "block") {
      Add(field,
          "needs the attention outputs that recompute: block does not keep; write recompute: feed_forward or none");
    }
    if (finetune.shard() == "all") {
      Add(field, "needs the attention outputs that shard: all does not keep; write shard: gradients or optimizer");
    }
  }

  void CheckBatch() {
    const v1::Finetune& finetune = spec_.finetune();
    const int64_t together = int64_t{finetune.ranks()} * finetune.micro_batch_sequences();
    if (!AnyArmTrains(spec_) || together <= 0) return;
    if (finetune.batch_sequences() % together != 0) {
      Add("finetune.batch_sequences", "is {}, which ranks x micro_batch_sequences ({} x {} = {}) does not divide",
          finetune.batch_sequences(), finetune.ranks(), finetune.micro_batch_sequences(), together);
    }
    const int64_t least = int64_t{finetune.min_ranks()} * finetune.micro_batch_sequences();
    if (finetune.min_ranks() < finetune.ranks() && least > 0 && finetune.batch_sequences() % least != 0) {
      Add("finetune.min_ranks",
          "is {}; with micro_batch_sequences {} that many ranks cannot share {} batch_sequences equally; write a "
          "number that divides {}",
          finetune.min_ranks(), finetune.micro_batch_sequences(), finetune.batch_sequences(),
          finetune.batch_sequences() / finetune.micro_batch_sequences());
    }
  }

  void CheckEvaluation() {
    const v1::Evaluation& evaluation = spec_.evaluation();
    if (evaluation.has_perplexity()) {
      CheckData("evaluation.perplexity", evaluation.perplexity(), true, "write a JSON Lines file of held-out text");
      CheckSequenceLength("evaluation.perplexity.sequence_length", evaluation.perplexity());
      CheckRange("evaluation.perplexity.max_windows", evaluation.perplexity().max_windows(), 0, 1 << 30);
    }
    if (evaluation.has_ranks()) CheckRange("evaluation.ranks", evaluation.ranks(), 1, kMostRanks);
    std::set<std::string> names;
    if (IsTooLong("evaluation.multiple_choice", evaluation.multiple_choice_size())) return;
    for (int i = 0; i < evaluation.multiple_choice_size(); ++i) CheckMultipleChoice(i, names);
    if (evaluation.has_latency()) CheckLatency(evaluation.latency());
    if (evaluation.has_answers()) CheckAnswers(evaluation.answers());
    if (evaluation.has_needle()) CheckNeedle(evaluation);
  }

  void CheckNeedle(const v1::Evaluation& evaluation) {
    const v1::Evaluation::Needle& needle = evaluation.needle();
    const std::string field = "evaluation.needle";
    if (!evaluation.has_perplexity()) Add(field, "needs the text of evaluation.perplexity as filler; add that");
    if (needle.context_lengths().empty()) Add(field + ".context_lengths", "is missing; write for example [512, 2048]");
    CheckList(field + ".context_lengths", needle.context_lengths(),
              [&](const std::string& item, int32_t value) { CheckRange(item, value, 64, 1 << 22); });
    CheckRange(field + ".items", needle.items(), 1, 10'000);
  }

  void CheckAnswers(const v1::Evaluation::Answers& answers) {
    const std::string field = "evaluation.answers";
    constexpr int most_prompts = 32, most_bytes = 16384;
    if (answers.prompts().empty()) Add(field + ".prompts", "is missing; write what to ask the models");
    if (answers.prompts_size() > most_prompts) {
      Add(field + ".prompts", "has {} items; write at most {}", answers.prompts_size(), most_prompts);
    }
    for (int i = 0; i < std::min(answers.prompts_size(), most_prompts); ++i) {
      const size_t bytes = answers.prompts(i).size();
      if (bytes >= 1 && bytes <= most_bytes) continue;
      Add(fmt::format("{}.prompts[{}]", field, i), "has {} bytes; write 1 to {}", bytes, most_bytes);
    }
    CheckRange(field + ".new_tokens", answers.new_tokens(), 1, 4096);
  }

  void CheckMultipleChoice(int index, std::set<std::string>& names) {
    const std::string field = fmt::format("evaluation.multiple_choice[{}]", index);
    const v1::Evaluation::MultipleChoice& set = spec_.evaluation().multiple_choice(index);
    const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.'; };
    Require(field + ".data", set.data(), "write a JSON Lines file with \"context\", \"choices\" and \"label\"");
    if (set.name().empty() || set.name().size() > 63 || !std::all_of(set.name().begin(), set.name().end(), allowed)) {
      Add(field + ".name", "'{}' is not a name; use 1 to 63 letters, digits, '_', '-' or '.'", set.name());
    } else if (!names.insert(set.name()).second) {
      Add(field + ".name", "'{}' is used twice; give each set its own name", set.name());
    }
  }

  void CheckLatency(const v1::Evaluation::Latency& latency) {
    const std::string field = "evaluation.latency";
    const auto positive = [&](const std::string& item, int32_t value) { CheckRange(item, value, 1, 1 << 22); };
    if (latency.batch_sizes().empty()) Add(field + ".batch_sizes", "is missing; write for example [1, 8]");
    if (latency.context_lengths().empty()) Add(field + ".context_lengths", "is missing; write for example [512]");
    CheckList(field + ".batch_sizes", latency.batch_sizes(), positive);
    CheckList(field + ".context_lengths", latency.context_lengths(), positive);
    CheckRange(field + ".new_tokens", latency.new_tokens(), 1, 1 << 20);
  }

  void CheckGates() {
    if (!spec_.gates().has_max_perplexity_ratio()) return;
    const double ratio = spec_.gates().max_perplexity_ratio();
    if (!(std::isfinite(ratio) && ratio > 0)) {
      Add("gates.max_perplexity_ratio", "is {}; write a number above 0, for example 1.5", ratio);
    }
    if (!spec_.evaluation().has_perplexity()) {
      Add("gates.max_perplexity_ratio", "needs a perplexity to judge; add evaluation.perplexity");
    }
  }

  void CheckSweep() {
    const v1::Sweep& sweep = spec_.sweep();
    CheckList("sweep.kv_heads", sweep.kv_heads(),
              [&](const std::string& item, int32_t value) { CheckRange(item, value, 1, kMostHeads); });
    CheckList("sweep.alignment", sweep.alignment(),
              [&](const std::string& item, const std::string& word) { CheckWord(item, word, kAlignmentMethods); });
    CheckList("sweep.layerwise", sweep.layerwise(),
              [&](const std::string& item, const std::string& word) { CheckWord(item, word, kLayerwiseMethods); });
    CheckList("sweep.refine", sweep.refine(), [](const std::string&, bool) {});
    CheckList("sweep.finetune", sweep.finetune(),
              [&](const std::string& item, const std::string& word) { CheckWord(item, word, kFinetuneMethods); });
    if (spec_.has_sweep() && !VariesAnything(spec_))
      Add("sweep", "varies nothing; list values of kv_heads, alignment, layerwise, refine or finetune");
    constexpr size_t most_arms = 256;
    const size_t arms = CountCombinations(spec_);
    if (arms > most_arms) Add("sweep", "has {} combinations; a job has at most {}", arms, most_arms);
  }

  void CheckOutput() {
    const std::string& output = spec_.output().checkpoint();
    if (output.empty() && !VariesAnything(spec_)) {
      Add("output.checkpoint", "is missing; write the folder of the result, which must not exist yet");
    }
    const std::string& source = spec_.source().checkpoint();
    if (!spec_.output().also().empty() && (output.empty() || IsAddress(output))) {
      Add("output.also", "has an effect beside a folder in output.checkpoint only; write one there");
    }
    if (output.empty() || source.empty()) return;
    if (output == source || output.starts_with(source + "/") || source.starts_with(output + "/") || output == "/") {
      Add("output.checkpoint", "'{}' and source.checkpoint '{}' overlap; write a folder of its own", output, source);
    }
  }

  void CheckResources() {
    const v1::Resources& resources = spec_.resources();
    CheckWord("resources.device", resources.device(), kDevices);
    CheckRange("resources.max_runtime_s", resources.max_runtime_s(), 1, int64_t{10} * 365 * 86400);
    CheckRange("resources.priority", resources.priority(), -100, 100);
  }

  void CheckLabels() {
    if (spec_.labels_size() > 16) Add("labels", "has {} labels; a job has at most 16", spec_.labels_size());
    for (const auto& [key, value] : spec_.labels()) {
      if (key.empty() || key.size() > 63 || HasControls(key)) {
        Add("labels", "'{}' is not a label name; use 1 to 63 characters without control characters", Shown(key));
      } else if (value.size() > 63 || HasControls(value)) {
        Add("labels." + key, "has {} bytes; a value has at most 63 and no control characters", value.size());
      }
    }
  }

  void CheckPaths() {
    ForEachPath(spec_, [&](const std::string& field, const std::string& path) { CheckPath(field, path); });
  }

  void CheckPath(const std::string& field, const std::string& path) {
    if (IsAddress(path)) {
      CheckAddress(field, path);
    } else if (field == "output.also") {
      Add(field, "'{}' is not an address; write s3://bucket/prefix", path);
    } else if (path.size() > 4095 || HasControls(path)) {
      Add(field, "is not a path; use at most 4095 characters and no control characters");
    } else if (path.front() != '/') {
      Add(field, "'{}' is not an absolute path; start it with '/'", path);
    } else if (("/" + path + "/").find("/../") != std::string::npos) {
      Add(field, "'{}' contains '..'; write the path without it", path);
    }
  }

  void CheckAddress(const std::string& field, const std::string& text) {
    const absl::StatusOr<Address> address = ParseAddress(text);
    const bool is_output = field.starts_with("output.");
    if (!address.ok()) {
      Add(field, "{}", std::string(address.status().message()));
    } else if (is_output && address->kind != AddressKind::kBucket) {
      Add(field, "'{}' cannot be written to; write a folder or s3://bucket/prefix", text);
    } else if ((is_output || field == "source.checkpoint") && text.find_first_of("*?[") != std::string::npos) {
      Add(field, "'{}' is a pattern; write the address of a folder", text);
    }
  }

  /// Returns true if the conversion reads text: all but plain averaging of neighbours do.
  bool NeedsStatistics() const {
    return AnyArmAligns(spec_) || spec_.alignment().compare() != "none" || AnyArmRefines(spec_) ||
           spec_.alignment().match_energy() || spec_.target().per_layer() == "auto";
  }

  static constexpr std::string_view kTextNeeded = "write a JSON Lines file with a \"text\" field in each line";
  static constexpr int64_t kMostHeads = 1 << 16;
  static constexpr int64_t kMostRanks = 4096;

  v1::JobSpec spec_;
};

}  // namespace

std::vector<FieldViolation> ValidateJobSpec(const v1::JobSpec& spec) { return Validation(spec).Run(); }

}  // namespace regroup
