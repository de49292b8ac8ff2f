#include "trainer/stages/evaluate_quality.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/eval/answers.h"
#include "trainer/eval/multiple_choice.h"
#include "trainer/eval/needle.h"
#include "trainer/eval/perplexity.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_text.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Writes the scores of single windows or items, once.
absl::Status WriteScores(const StageContext& context, const std::string& name, const Json& scores) {
  if (!context.leads()) return absl::OkStatus();
  return WriteFileAtomically(context.out() / name, scores.dump(1) + "\n");
}

/// Returns the scores of every item, for paired comparisons.
Json DescribeItems(const MultipleChoice& result) {
  Json items = Json::array();
  for (const ChoiceItem& item : result.items) {
    items.push_back({{"label", item.label},
                     {"log_likelihoods", item.log_likelihoods},
                     {"characters", item.characters},
                     {"bytes", item.bytes},
                     {"best", item.Best(ChoiceLength::kNone)},
                     {"best_per_character", item.Best(ChoiceLength::kCharacters)},
                     {"best_per_byte", item.Best(ChoiceLength::kBytes)}});
  }
  return items;
}

Json DescribeSet(const std::string& name, const MultipleChoice& result) {
  Json set = {{"name", name}, {"items", result.items.size()}};
  for (const auto& [key, length] :
       {std::pair("accuracy", ChoiceLength::kNone), std::pair("accuracy_per_character", ChoiceLength::kCharacters),
        std::pair("accuracy_per_byte", ChoiceLength::kBytes)}) {
    set[key] = result.Accuracy(length);
    set[std::string(key) + "_standard_error"] = result.StandardError(length);
  }
  return set;
}

}  // namespace

absl::StatusOr<const Tokenizer*> QualityMeasures::SourceTokenizer() {
  if (tokenizer_ == nullptr) {
    REGROUP_ASSIGN_OR_RETURN(tokenizer_, LoadSourceTokenizer(context_, source_));
  }
  return tokenizer_.get();
}

absl::StatusOr<const TokenWindows*> QualityMeasures::Windows() {
  if (!windows_.has_value()) {
    REGROUP_ASSIGN_OR_RETURN(windows_, ReadEvaluationWindows(context_, source_));
  }
  return &*windows_;
}

absl::Status QualityMeasures::AddPerplexity(const Model& model, EvaluationRecord& record) {
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows* windows, Windows());
  const auto progress = [&](int64_t done) { context_.link.SetProgress("windows", done, windows->windows()); };
  REGROUP_ASSIGN_OR_RETURN(
      const Perplexity perplexity,
      MeasurePerplexity(model, *windows, context_.device, context_.communicator, {.progress = progress}));
  record.measured["perplexity"] = perplexity.perplexity;
  record.measured["mean_loss"] = perplexity.mean_loss;
  record.measured["standard_error"] = perplexity.standard_error;
  record.measured["windows"] = perplexity.windows;
  record.measured["tokens"] = perplexity.tokens;
  for (const ContextLoss& loss : perplexity.by_context) {
    record.measured["by_context"].push_back(
        {{"first", loss.first}, {"last", loss.last}, {"perplexity", std::exp(loss.mean_loss)}});
  }
  record.SetFigure("perplexity", perplexity.perplexity);
  return WriteScores(context_, artifacts::kWindowScores, {{"mean_losses", perplexity.window_losses}});
}

absl::Status QualityMeasures::AddMultipleChoice(const Model& model, EvaluationRecord& record) {
  if (context_.spec().evaluation().multiple_choice().empty()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, SourceTokenizer());
  for (const v1::Evaluation::MultipleChoice& set : context_.spec().evaluation().multiple_choice()) {
    const auto progress = [&](int64_t done, int64_t total) {
      context_.link.SetProgress(set.name() + " choices", done, total);
    };
    REGROUP_ASSIGN_OR_RETURN(
        const MultipleChoice result,
        MeasureMultipleChoice(model, set.data(), *tokenizer, context_.device, context_.communicator, progress));
    if (result.data_digest != InspectedDataDigest(context_, set.data()).value_or(result.data_digest)) {
      return AtKey("evaluation.multiple_choice", DataChanged(set.data()));
    }
    record.measured["multiple_choice"].push_back(DescribeSet(set.name(), result));
    record.SetFigure(set.name(), result.Accuracy(ChoiceLength::kNone));
    REGROUP_RETURN_IF_ERROR(WriteScores(context_, artifacts::ChoiceScores(set.name()), DescribeItems(result)));
  }
  return absl::OkStatus();
}

absl::Status QualityMeasures::AddNeedle(const Model& model, EvaluationRecord& record) {
  if (!context_.spec().evaluation().has_needle()) return absl::OkStatus();
  const v1::Evaluation::Needle& needle = context_.spec().evaluation().needle();
  REGROUP_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, SourceTokenizer());
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows* filler, Windows());
  const auto progress = [&](int64_t done, int64_t total) { context_.link.SetProgress("needle choices", done, total); };
  const NeedleSettings settings{.context_lengths = {needle.context_lengths().begin(), needle.context_lengths().end()},
                                .items = needle.items()};
  const auto cells =
      MeasureNeedle(model, *filler, *tokenizer, settings, context_.device, context_.communicator, progress);
  if (!cells.ok()) return AtKey("evaluation.needle", cells.status());
  for (const NeedleCell& cell : *cells) {
    record.measured["needle"].push_back(
        {{"context_length", cell.context_length}, {"depth", cell.depth}, {"items", cell.items}, {"right", cell.right}});
  }
  return absl::OkStatus();
}

absl::Status QualityMeasures::AddAnswers(const Model& model, EvaluationRecord& record) {
  const v1::Evaluation::Answers& answers = context_.spec().evaluation().answers();
  if (answers.prompts().empty()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, SourceTokenizer());
  for (int index = 0; context_.leads() && index < answers.prompts_size(); ++index) {
    const std::string& prompt = answers.prompts(index);
    context_.link.SetProgress("answers", index, answers.prompts_size());
    REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, PromptTokens(*tokenizer, prompt, model.config));
    REGROUP_ASSIGN_OR_RETURN(const Answer answer, AnswerPrompt(model, *tokenizer, ids, answers.new_tokens()));
    record.measured["answers"].push_back(
        {{"prompt", prompt}, {"text", answer.text}, {"tokens", answer.tokens}, {"ended", answer.ended}});
  }
  return context_.communicator.RestingBarrier();
}

absl::Status QualityMeasures::KeepReference(const Model& model) {
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows* windows, Windows());
  const int64_t most = std::max<int64_t>(1, kComparedTokens / windows->places());
  const int64_t total = std::min(most, windows->windows());
  const auto progress = [&](int64_t done) { context_.link.SetProgress("windows of the source", done, total); };
  reference_.emplace(model, *windows, most, context_.device, context_.communicator, progress);
  return absl::OkStatus();
}

absl::Status QualityMeasures::AddAgreement(const Model& model, EvaluationRecord& record) {
  if (!reference_.has_value()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows* windows, Windows());
  const auto progress = [&](int64_t done) {
    context_.link.SetProgress("agreement windows", done, reference_->windows());
  };
  REGROUP_ASSIGN_OR_RETURN(const Agreement agreement, MeasureAgreement(*reference_, model, *windows, context_.device,
                                                                       context_.communicator, progress));
  reference_.reset();
  record.measured["agreement"] = {
      {"positions", agreement.positions}, {"mean_kl", agreement.mean_kl}, {"same_top_token", agreement.same_top_token}};
  return absl::OkStatus();
}

}  // namespace regroup
