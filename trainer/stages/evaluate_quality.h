// Computes the measures of quality that a job requests, as parts of evaluation.json.
//
// The scores of single windows and items are stored next to evaluation.json, and the report makes paired comparisons
// from them: windows.json {"mean_losses": [...]} and choices-<set>.json [{"label", "log_likelihoods", "bytes", "best",
// ...}].
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/data/token_windows.h"
#include "trainer/data/tokenizer.h"
#include "trainer/eval/agreement.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// The subject of an evaluation and the places where its figures are stored.
struct EvaluationRecord {
  /// Label of the figures: the subject or, in a sweep, the settings of the arm.
  std::string figure_row;
  nlohmann::ordered_json measured;
  v1::TaskOutcome outcome;

  void SetFigure(const std::string& what, double value) {
    (*outcome.mutable_figures())[what + "/" + figure_row] = value;
  }
};

/// Adds measures of a model to its record. What several measures read, the tokenizer and the text of
/// evaluation.perplexity, is read when the first of them needs it.
class QualityMeasures {
 public:
  /// Both outlive the object.
  QualityMeasures(StageContext& context, const SourceModel& source) : context_(context), source_(source) {}

  absl::Status AddPerplexity(const Model& model, EvaluationRecord& record);

  absl::Status AddMultipleChoice(const Model& model, EvaluationRecord& record);

  /// Adds how often the model finds a fact, by the length of its context and the depth of the fact.
  absl::Status AddNeedle(const Model& model, EvaluationRecord& record);

  /// Adds what the model says to the job's prompts. Rank 0 decodes, the others wait.
  absl::Status AddAnswers(const Model& model, EvaluationRecord& record);

  /// Keeps what the model predicts on at most 131,072 tokens of the evaluation.perplexity text.
  absl::Status KeepReference(const Model& model);
  /// Adds how closely `model` follows the reference there, and forgets it; adds nothing if there is none.
  absl::Status AddAgreement(const Model& model, EvaluationRecord& record);

 private:
  absl::StatusOr<const Tokenizer*> SourceTokenizer();
  absl::StatusOr<const TokenWindows*> Windows();

  StageContext& context_;
  const SourceModel& source_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<TokenWindows> windows_;
  std::optional<ReferencePredictions> reference_;
};

}  // namespace regroup
