// inspect: opens everything the job will need and rejects jobs that cannot work, before other tasks start.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/arms.h"
#include "services/common/job_file/data_names.h"
#include "trainer/data/bounded_tokenizer.h"
#include "trainer/data/data_files.h"
#include "trainer/data/text_reader.h"
#include "trainer/eval/answers.h"
#include "trainer/model_folder/companion_files.h"
#include "trainer/model_folder/spectrogram_settings.h"
#include "trainer/plan/check_target.h"
#include "trainer/plan/describe.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/check_job.h"
#include "trainer/stages/check_text.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/latency.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

template <typename Message>
absl::Status CheckLength(std::string_view key, const Message& message, const ModelConfig& config) {
  if (config.ReadsAudio()) {
    if (!message.has_sequence_length() || message.sequence_length() <= config.StackPositions()) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("{}.sequence_length: {} is more than the {} positions of the decoder",
                                                  key, message.sequence_length(), config.StackPositions()));
  }
  if (config.HasEncoder() && SequenceLength(message, config) % 2 != 0) {
    return absl::InvalidArgumentError(fmt::format(
        "{}.sequence_length: {} is odd, but encoder and decoder read half of a window each; write an even number", key,
        message.sequence_length()));
  }
  if (SequenceLength(message, config) <= config.max_positions) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}.sequence_length: {} is more than the {} positions of the model",
                                                key, message.sequence_length(), config.max_positions));
}

absl::Status CheckQuestions(std::string_view key, const std::string& file) {
  auto reader = MultipleChoiceReader::Open(file);
  if (!reader.ok()) return AtKey(key, reader.status());
  const auto first = reader->Next();
  if (!first.ok()) return AtKey(key, first.status());
  if (first->has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: {} contains no question", key, file));
}

absl::Status CheckFinetune(const v1::Finetune& finetune, const ModelConfig& config, const Tokenizer& tokenizer) {
  if (finetune.loss() == "bild" && config.HasEncoder()) {
    return absl::InvalidArgumentError(
        "finetune.loss: bild does not support models with an encoder; write loss: kl for this source");
  }
  REGROUP_RETURN_IF_ERROR(CheckLength("finetune", finetune, config));
  REGROUP_RETURN_IF_ERROR(CheckText(ForModel(TextOf(finetune), config), tokenizer, SequenceLength(finetune, config)));
  if (!finetune.across_documents() && config.HasEncoder()) {
    return absl::InvalidArgumentError(
        "finetune.across_documents: false is not supported for models with an encoder; remove this key");
  }
  return absl::OkStatus();
}

absl::Status CheckOutput(const v1::JobSpec& spec) {
  if (spec.output().checkpoint().empty()) return absl::OkStatus();
  if (spec.has_sweep()) {
    LogWarning("output.checkpoint is ignored: a sweep publishes no checkpoint");
    return absl::OkStatus();
  }
  const std::filesystem::path output = spec.output().checkpoint();
  const absl::StatusOr<bool> is_taken = IsTaken(output);
  if (!is_taken.ok()) return AtKey("output.checkpoint", is_taken.status());
  if (*is_taken) {
    return absl::AlreadyExistsError(
        fmt::format("output.checkpoint: {} already exists; remove it or write another folder", output.string()));
  }
  std::filesystem::path parent = output.parent_path();
  while (!parent.empty() && !Exists(parent) && parent != parent.parent_path()) parent = parent.parent_path();
  if (access(parent.c_str(), W_OK | X_OK) != 0) {
    return absl::PermissionDeniedError(fmt::format("output.checkpoint: cannot write to {}", parent.string()));
  }
  return absl::OkStatus();
}

absl::Status CheckNeedle(const v1::Evaluation::Needle& needle, const ModelConfig& config) {
  constexpr std::string_view key = "evaluation.needle";
  if (config.HasEncoder()) {
    return absl::InvalidArgumentError(fmt::format("{}: not for models with an encoder; remove the key", key));
  }
  for (const int32_t length : needle.context_lengths()) {
    if (length <= config.max_positions) continue;
    return absl::InvalidArgumentError(fmt::format("{}.context_lengths: {} is more than the {} positions of the model",
                                                  key, length, config.max_positions));
  }
  return absl::OkStatus();
}

absl::Status CheckAnswers(const v1::Evaluation::Answers& answers, const ModelConfig& config,
                          const Tokenizer& tokenizer) {
  constexpr std::string_view key = "evaluation.answers";
  for (int index = 0; index < answers.prompts_size(); ++index) {
    const auto ids = PromptTokens(tokenizer, answers.prompts(index), config);
    const std::string prompt = fmt::format("{}.prompts[{}]", key, index);
    if (!ids.ok()) return AtKey(prompt, ids.status());
    if (ids->empty()) return absl::InvalidArgumentError(fmt::format("{}: the prompt has no tokens", prompt));
    // The decoder of an encoder-decoder reads its start token before the answer.
    const int64_t read = config.HasEncoder() ? std::max<int64_t>(std::ssize(*ids), answers.new_tokens())
                                             : std::ssize(*ids) + answers.new_tokens();
    if (read <= config.StackPositions()) continue;
    return absl::InvalidArgumentError(
        fmt::format("{}: its {} tokens {} an answer of {} are more than the {} positions of the model", prompt,
                    ids->size(), config.HasEncoder() ? "or" : "and", answers.new_tokens(), config.StackPositions()));
  }
  return absl::OkStatus();
}

/// Refuses measurements whose prompts are text.
absl::Status CheckMeasuresOfAudio(const v1::Evaluation& evaluation) {
  std::string_view key;
  if (evaluation.has_latency()) key = "latency";
  if (!evaluation.multiple_choice().empty()) key = "multiple_choice";
  if (!evaluation.answers().prompts().empty()) key = "answers";
  if (key.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("evaluation.{}: not for models that read audio; remove the key, perplexity remains", key));
}

absl::Status CheckData(const v1::JobSpec& spec, const ModelConfig& config, const Tokenizer& tokenizer) {
  if (config.ReadsAudio()) REGROUP_RETURN_IF_ERROR(CheckMeasuresOfAudio(spec.evaluation()));
  if (HasData(spec.calibration())) {
    REGROUP_RETURN_IF_ERROR(CheckLength("calibration", spec.calibration(), config));
    REGROUP_RETURN_IF_ERROR(
        CheckText(ForModel(TextOf(spec.calibration()), config), tokenizer, SequenceLength(spec.calibration(), config)));
  }
  if (AnyArmDistillsLayers(spec)) {
    REGROUP_RETURN_IF_ERROR(CheckLength("layerwise", spec.layerwise(), config));
    REGROUP_RETURN_IF_ERROR(
        CheckText(ForModel(TextOf(spec.layerwise()), config), tokenizer, SequenceLength(spec.layerwise(), config)));
  }
  if (AnyArmTrains(spec) && HasData(spec.finetune())) {
    REGROUP_RETURN_IF_ERROR(CheckFinetune(spec.finetune(), config, tokenizer));
  }
  if (spec.evaluation().has_perplexity()) {
    REGROUP_RETURN_IF_ERROR(CheckLength("evaluation.perplexity", spec.evaluation().perplexity(), config));
    REGROUP_RETURN_IF_ERROR(CheckText(ForModel(TextOf(spec.evaluation().perplexity()), config), tokenizer,
                                      SequenceLength(spec.evaluation().perplexity(), config)));
  }
  for (int index = 0; index < spec.evaluation().multiple_choice_size(); ++index) {
    REGROUP_RETURN_IF_ERROR(CheckQuestions(fmt::format("evaluation.multiple_choice[{}].data", index),
                                           spec.evaluation().multiple_choice(index).data()));
  }
  if (spec.evaluation().has_latency()) REGROUP_RETURN_IF_ERROR(CheckLatency(spec.evaluation().latency(), config));
  if (spec.evaluation().has_needle()) REGROUP_RETURN_IF_ERROR(CheckNeedle(spec.evaluation().needle(), config));
  return CheckAnswers(spec.evaluation().answers(), config, tokenizer);
}

/// Adds the digests of all data that has none yet, by the names in the job file.
absl::Status AddDataDigests(const v1::JobSpec& spec, const std::function<void()>& tick, v1::ModelSummary& summary) {
  std::set<std::string> names;
  for (const JobText& text : {TextOf(spec.calibration()), TextOf(spec.finetune()), TextOf(spec.layerwise()),
                              TextOf(spec.evaluation().perplexity())}) {
    names.insert(text.names.begin(), text.names.end());
  }
  for (const v1::Evaluation::MultipleChoice& set : spec.evaluation().multiple_choice()) names.insert(set.data());
  auto& digests = *summary.mutable_data_digests();
  for (const std::string& name : names) {
    if (digests.contains(name)) continue;
    REGROUP_ASSIGN_OR_RETURN(digests[name], DataDigest(name, tick));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Tokenizer>> CheckJob(const v1::JobSpec& spec, const SourceModel& source) {
  REGROUP_RETURN_IF_ERROR(CheckTarget(spec, source.config()));
  auto tokenizer = LoadBoundedTokenizer(source.folder().path(), source.config().vocabulary);
  if (!tokenizer.ok()) return AtKey("source.checkpoint", tokenizer.status());
  REGROUP_RETURN_IF_ERROR(
      AtKey("source.checkpoint", CheckCompanionFiles(source.folder().config(), source.folder().path())));
  REGROUP_RETURN_IF_ERROR(
      AtKey("source.checkpoint", CheckSpectrogramSettings(source.folder().path(), source.config())));
  REGROUP_RETURN_IF_ERROR(CheckData(spec, source.config(), **tokenizer));
  return tokenizer;
}

absl::StatusOr<v1::TaskOutcome> RunInspect(StageContext& context) {
  const v1::JobSpec& spec = context.spec();
  context.link.SetProgress("open source", 0, 0);
  auto source = SourceModel::Open(spec.source().checkpoint());
  if (!source.ok()) return AtKey("source.checkpoint", source.status());
  const ModelConfig& config = source->config();
  REGROUP_RETURN_IF_ERROR(CheckOutput(spec));
  REGROUP_ASSIGN_OR_RETURN(const std::shared_ptr<const Tokenizer> tokenizer, CheckJob(spec, *source));
  REGROUP_RETURN_IF_ERROR(CheckTokens(spec, config, *tokenizer));
  const auto tick = [&context] { context.link.activity().Tick(); };
  v1::TaskOutcome outcome;
  v1::ModelSummary& summary = *outcome.mutable_model();
  summary = SummaryOf(*source);
  // Training reads all of its text, and hours after this; what the other stages read, they read first.
  if (AnyArmTrains(spec)) {
    context.link.SetProgress("read finetune.data", 0, 0);
    const JobText text = ForModel(TextOf(spec.finetune()), config);
    REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> digests, CheckAllLines(text, *tokenizer, tick));
    for (size_t i = 0; i < digests.size(); ++i) (*summary.mutable_data_digests())[text.names[i]] = digests[i];
  }

  Warn(context, NoteOnSplitHeads(spec, config), outcome);
  for (const std::string& note : NotesOn(*source, *tokenizer)) LogWarning(note);
  for (const std::string& note : source->notes()) LogInfo(note);
  const auto files = KeepSourceFiles(context, *source);
  if (!files.ok()) return AtKey("source.checkpoint", files.status());

  context.link.SetProgress("digest", 0, 0);
  const SourceDigests digests = source->Digests();
  summary.set_digest(DigestOf(digests));
  REGROUP_ASSIGN_OR_RETURN(const std::string tokenizer_digest, TokenizerDigest(*files));
  REGROUP_RETURN_IF_ERROR(WriteInspectedSource(context, {.weights = digests, .tokenizer = tokenizer_digest}));
  REGROUP_RETURN_IF_ERROR(AddDataDigests(spec, tick, summary));
  const int64_t element_bytes = static_cast<int64_t>(at::elementSize(source->dtype()));
  auto& figures = *outcome.mutable_figures();
  figures["kv_bytes_per_token/source"] = static_cast<double>(config.KvCacheBytesPerToken(element_bytes));
  if (spec.target().has_kv_heads()) {
    ModelConfig result = config;
    result.kv_heads = spec.target().kv_heads();
    figures["kv_bytes_per_token/result"] = static_cast<double>(result.KvCacheBytesPerToken(element_bytes));
  }
  return outcome;
}

}  // namespace regroup
