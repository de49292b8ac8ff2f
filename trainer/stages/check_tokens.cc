// CheckTokens: whether the job's text has tokens that the model does not have.
#include <fmt/format.h>

#include "services/common/base/status_macros.h"
#include "services/common/job_file/arms.h"
#include "services/common/job_file/data_names.h"
#include "trainer/data/text_reader.h"
#include "trainer/data/token_windows.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/check_job.h"
#include "trainer/stages/check_text.h"
#include "trainer/stages/job_text.h"

namespace regroup {
namespace {

absl::Status CheckTokensOf(const JobText& of_job, const ModelConfig& config, const Tokenizer& tokenizer,
                           const TokenWindowsOptions& options) {
  const JobText text = ForModel(of_job, config);
  const auto enough = EnoughTokens(options);
  if (!enough.ok()) return AtKey(text.key, enough.status());
  return CountTokens(text, tokenizer, options.sequence_length, *enough).status();
}

absl::Status CheckQuestions(const std::string& data, const Tokenizer& tokenizer) {
  REGROUP_ASSIGN_OR_RETURN(MultipleChoiceReader reader, MultipleChoiceReader::Open(data));
  for (int64_t item = 1;; ++item) {
    REGROUP_ASSIGN_OR_RETURN(const std::optional<MultipleChoiceRecord> record, reader.Next());
    if (!record) return absl::OkStatus();
    for (const std::string& choice : record->choices) {
      const absl::Status status = tokenizer.Encode(record->context + " " + choice).status();
      if (status.ok()) continue;
      return absl::Status(status.code(), fmt::format("{}: item {}: {}", data, item, std::string(status.message())));
    }
  }
}

}  // namespace

absl::Status CheckTokens(const v1::JobSpec& spec, const ModelConfig& config, const Tokenizer& tokenizer) {
  if (tokenizer.vocabulary_size() <= config.vocabulary) return absl::OkStatus();
  const v1::Calibration& calibration = spec.calibration();
  if (HasData(calibration)) {
    REGROUP_RETURN_IF_ERROR(CheckTokensOf(
        TextOf(calibration), config, tokenizer,
        {.sequence_length = SequenceLength(calibration, config), .max_windows = calibration.sequences()}));
  }
  if (AnyArmDistillsLayers(spec)) {
    const v1::Layerwise& layerwise = spec.layerwise();
    REGROUP_RETURN_IF_ERROR(
        CheckTokensOf(TextOf(layerwise), config, tokenizer,
                      {.sequence_length = SequenceLength(layerwise, config), .max_windows = layerwise.sequences()}));
  }
  if (AnyArmTrains(spec) && HasData(spec.finetune())) {
    const JobText text = TextOf(spec.finetune());
    REGROUP_RETURN_IF_ERROR(CheckTokensOf(
        text, config, tokenizer, {.sequence_length = SequenceLength(spec.finetune(), config), .kind = text.kind}));
  }
  if (spec.evaluation().has_perplexity()) {
    const v1::Evaluation::Perplexity& perplexity = spec.evaluation().perplexity();
    REGROUP_RETURN_IF_ERROR(CheckTokensOf(
        TextOf(perplexity), config, tokenizer,
        {.sequence_length = SequenceLength(perplexity, config), .max_windows = perplexity.max_windows()}));
  }
  for (int index = 0; index < spec.evaluation().multiple_choice_size(); ++index) {
    REGROUP_RETURN_IF_ERROR(AtKey(fmt::format("evaluation.multiple_choice[{}].data", index),
                                  CheckQuestions(spec.evaluation().multiple_choice(index).data(), tokenizer)));
  }
  return absl::OkStatus();
}

}  // namespace regroup
