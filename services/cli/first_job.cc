#include "services/cli/first_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <sstream>
#include <string_view>
#include <utility>

#include "services/common/base/bounded_json.h"
#include "services/common/job_file/job_file.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestName = 40;
constexpr int64_t kLongestSequence = 2048;
/// Models without a maximum, such as T5, were trained on sequences of this length.
constexpr int64_t kSequenceWithoutMaximum = 512;
constexpr int64_t kCalibrationSequences = 128;
constexpr int kBatchSequences = 8;
/// An English token takes about four bytes; six leave room for the JSON around the text.
constexpr int64_t kBytesPerToken = 6;

/// Comments by the path of a key. Each is one sentence.
constexpr std::array<std::pair<std::string_view, std::string_view>, 19> kComments = {{
    {"name", "The job's id begins with this name."},
    {"source", "The checkpoint to convert is a Hugging Face folder; a relative path starts at this file's folder."},
    {"recipe",
     "The recipe best aligns heads, trains each layer alone and then the whole model; paper is the published method."},
    {"target", "Fewer KV heads give a smaller KV cache and a larger loss of quality."},
    {"calibration", "The statistics for aligning heads are computed on this text."},
    {"calibration.data", "A name is that of a JSON Lines or Parquet file, or of a folder of such files."},
    {"calibration.sequences", "More than 128 sequences rarely change the alignment."},
    {"calibration.sequence_length", "Sequences have this many tokens, at most the model's maximum."},
    {"layerwise", "Each merged attention layer is trained alone on this many sequences of the same text."},
    {"finetune", "The whole model is trained with the source as its teacher, on the same text."},
    {"finetune.steps",
     "More steps give a better model: some hundred for millions of parameters, some thousand for billions."},
    {"finetune.batch_sequences", "One step reads this many sequences, over all ranks."},
    {"finetune.ranks", "Each rank is a process, and takes one GPU where there are GPUs."},
    {"finetune.checkpoint_every_steps", "Training resumes from its last checkpoint after a failure."},
    {"evaluation", "The perplexity of source and result is measured on text that is not trained on."},
    {"evaluation.perplexity.max_windows", "At most this many windows are measured; 0 measures all."},
    {"output", "The converted checkpoint appears here when it is complete; the folder must not exist."},
    {"resources", "Devices are chosen by each worker, which takes its GPUs if it has any; cpu takes none."},
    {"gates", "The job fails and publishes nothing if the result is worse than this."},
}};

std::string_view CommentOn(std::string_view key) {
  const auto* const found =
      std::find_if(kComments.begin(), kComments.end(), [&](const auto& comment) { return comment.first == key; });
  return found == kComments.end() ? std::string_view() : found->second;
}

template <typename Integer>
absl::StatusOr<Integer> FigureNamed(const nlohmann::json& answer, const std::string& key) {
  const auto found = answer.find(key);
  const auto figure = found == answer.end() ? std::nullopt : IntegerIn<Integer>(*found);
  if (figure) return *figure;
  return absl::InternalError(fmt::format("the trainer's answer has no {}", key));
}

int64_t SequenceLength(const InspectedModel& model) {
  if (model.maximum_positions <= 0) return kSequenceWithoutMaximum;
  return std::min(model.maximum_positions, kLongestSequence);
}

/// Asks for no more sequences than the text has: a job fails if it has less than half of them.
int64_t CalibrationSequences(const DataChoice& data, int64_t sequence_length) {
  if (!data.training_bytes) return kCalibrationSequences;
  const auto tokens = static_cast<int64_t>(*data.training_bytes / kBytesPerToken);
  return std::clamp(tokens / sequence_length, int64_t{1}, kCalibrationSequences);
}

/// Returns the largest power of two that neither the GPUs nor the batch's sequences are fewer than.
int RanksFor(int gpus) {
  int ranks = 1;
  while (2 * ranks <= std::min(gpus, kBatchSequences)) ranks *= 2;
  return ranks;
}

std::string NameWithin(const fs::path& folder, const fs::path& path) {
  const fs::path relative = path.lexically_relative(folder);
  const bool lies_within = !relative.empty() && relative.begin()->string() != ".." && relative.begin()->string() != ".";
  return lies_within ? relative.string() : path.string();
}

template <typename Section>
void SetData(const std::vector<fs::path>& names, const fs::path& folder, Section& section) {
  if (names.size() == 1) return section.set_data(NameWithin(folder, names.front()));
  for (const fs::path& name : names) section.add_data_files(NameWithin(folder, name));
}

/// Returns the key of a line of YAML with its depth in steps of two spaces; an empty key for a line that has none.
std::pair<std::string, size_t> KeyOf(const std::string& line) {
  const size_t start = line.find_first_not_of(' ');
  const size_t colon = line.find(':');
  if (start == std::string::npos || colon == std::string::npos) return {};
  return {line.substr(start, colon - start), start / 2};
}

/// Puts the comment of each key above it, and an empty line before each section.
std::string WithComments(const std::string& yaml) {
  std::string text, line;
  std::vector<std::string> path;
  std::istringstream lines(yaml);
  while (std::getline(lines, line)) {
    const auto [key, depth] = KeyOf(line);
    path.resize(depth);
    path.push_back(key);
    std::string name;
    for (const std::string& part : path) name += (name.empty() ? "" : ".") + part;
    const std::string_view comment = CommentOn(name);
    if (depth == 0) text += "\n";
    if (!comment.empty()) text += fmt::format("{}# {}\n", std::string(2 * depth, ' '), comment);
    text += line + "\n";
  }
  return text;
}

std::string HeaderText(const InspectedModel& model) {
  return fmt::format(
      "# A first job file by regroup init, for a {} with {} layers, {} heads and {} KV heads.\n"
      "# `regroup plan` says what it needs, `regroup run` runs it; proto/regroup/v1/job.proto describes every key.\n",
      model.family, model.layers, model.heads, model.kv_heads);
}

/// Shows keys that the job does not have, as comments.
std::string FurtherKeys(const v1::JobSpec& job) {
  std::string text;
  if (!job.has_evaluation()) {
    text += fmt::format(
        "\n# {}\n# No file of the data is named valid* or test*; name one here.\n"
        "# evaluation:\n#   perplexity:\n#     data: valid.jsonl\n",
        CommentOn("evaluation"));
  }
  text += fmt::format("\n# {} It needs an evaluation.\n# gates:\n#   max_perplexity_ratio: 1.5\n", CommentOn("gates"));
  return text;
}

}  // namespace

absl::StatusOr<InspectedModel> InspectedModelOf(const nlohmann::json& answer) {
  InspectedModel model;
  model.family = answer.value("family", "");
  const std::pair<const char*, int*> figures[] = {
      {"layers", &model.layers}, {"heads", &model.heads}, {"kv_heads", &model.kv_heads}};
  for (const auto& [key, figure] : figures) {
    const auto found = FigureNamed<int>(answer, key);
    if (!found.ok()) return found.status();
    *figure = *found;
  }
  model.maximum_positions = FigureNamed<int64_t>(answer, "maximum_positions").value_or(0);
  for (const nlohmann::json& number : answer.value("possible_kv_heads", nlohmann::json::array())) {
    if (const auto heads = IntegerIn<int>(number)) model.possible_kv_heads.push_back(*heads);
  }
  if (SuggestedKvHeads(model) < model.kv_heads) return model;
  return absl::FailedPreconditionError(fmt::format("the model has {} KV head{} and can share no more of them",
                                                   model.kv_heads, model.kv_heads == 1 ? "" : "s"));
}

int SuggestedKvHeads(const InspectedModel& model) {
  const int divisor = model.kv_heads == model.heads ? 4 : 2;
  int smallest = model.kv_heads;
  int best = 0;
  for (const int heads : model.possible_kv_heads) {
    smallest = std::min(smallest, heads);
    if (heads * divisor <= model.kv_heads) best = std::max(best, heads);
  }
  return best > 0 ? best : smallest;
}

std::string FirstJobName(const fs::path& checkpoint, int kv_heads) {
  const std::string end = fmt::format("-gqa{}", kv_heads);
  std::string name;
  for (const char c : checkpoint.filename().string()) {
    const auto character = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(character) != 0 && character < 0x80;
    if (plain) name += static_cast<char>(std::tolower(character));
    if (!plain && !name.empty() && name.back() != '-') name += '-';
  }
  name.resize(std::min(name.size(), kLongestName - end.size()));
  while (name.ends_with('-')) name.pop_back();
  return (name.empty() ? "model" : name) + end;
}

v1::JobSpec FirstJob(const InspectedModel& model, const DataChoice& data, const FirstJobChoices& choices,
                     const fs::path& folder) {
  const auto sequence_length = static_cast<int32_t>(SequenceLength(model));
  const int ranks = RanksFor(choices.gpus);
  v1::JobSpec job;
  job.set_name(FirstJobName(choices.checkpoint, choices.kv_heads));
  job.mutable_source()->set_checkpoint(NameWithin(folder, choices.checkpoint));
  job.set_recipe("best");
  job.mutable_target()->set_kv_heads(choices.kv_heads);
  SetData(data.training, folder, *job.mutable_calibration());
  job.mutable_calibration()->set_sequences(static_cast<int32_t>(CalibrationSequences(data, sequence_length)));
  job.mutable_calibration()->set_sequence_length(sequence_length);
  job.mutable_layerwise()->set_sequences(512);
  job.mutable_layerwise()->set_sequence_length(sequence_length);
  v1::Finetune& finetune = *job.mutable_finetune();
  finetune.set_steps(choices.steps);
  finetune.set_batch_sequences(kBatchSequences);
  finetune.set_sequence_length(sequence_length);
  finetune.set_ranks(ranks);
  finetune.set_checkpoint_every_steps(50);
  if (!data.evaluation.empty()) {
    v1::Evaluation::Perplexity& perplexity = *job.mutable_evaluation()->mutable_perplexity();
    SetData(data.evaluation, folder, perplexity);
    perplexity.set_sequence_length(sequence_length);
    perplexity.set_max_windows(256);
  }
  job.mutable_output()->set_checkpoint(NameWithin(folder, choices.output));
  job.mutable_resources()->set_device("auto");
  return job;
}

std::string FirstJobText(const InspectedModel& model, const v1::JobSpec& job) {
  return HeaderText(model) + WithComments(FormatJobFile(job)) + FurtherKeys(job);
}

}  // namespace regroup
