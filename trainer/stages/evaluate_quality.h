// Computes the measures of quality that a job requests, as parts of evaluation.json.
//
// The scores of single windows and items are stored next to evaluation.json, and the report makes paired comparisons
// from them: windows.json {"mean_losses": [...]} and choices-<set>.json [{"label", "log_likelihoods", "bytes", "best",
// ...}].
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
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

absl::Status AddPerplexity(StageContext& context, const SourceModel& source, const Model& model,
                           EvaluationRecord& record);

absl::Status AddMultipleChoice(StageContext& context, const SourceModel& source, const Model& model,
                               EvaluationRecord& record);

/// Adds how often the model finds a fact, by the length of its context and the depth of the fact.
absl::Status AddNeedle(StageContext& context, const SourceModel& source, const Model& model, EvaluationRecord& record);

/// Adds what the model says to the job's prompts. Rank 0 decodes, the others wait.
absl::Status AddAnswers(StageContext& context, const SourceModel& source, const Model& model, EvaluationRecord& record);

/// Adds how closely `model` follows `reference` on at most 131,072 tokens of the evaluation.perplexity text.
absl::Status AddAgreement(StageContext& context, const SourceModel& source, const Model& reference, const Model& model,
                          EvaluationRecord& record);

}  // namespace regroup
