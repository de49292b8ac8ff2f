// The measures of quality that a job asks for, as parts of evaluation.json.
//
// Beside evaluation.json lie the scores of single windows and items, from which the report makes paired comparisons:
// windows.json {"mean_losses": [...]} and choices-<set>.json [{"label", "log_likelihoods", "bytes", "best", ...}].
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// What is being evaluated and where its figures go.
struct EvaluationRecord {
  /// What a figure belongs to: the subject, or in a sweep the settings of the arm.
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

/// How closely `model` follows `reference` on the text of evaluation.perplexity; at most 131,072 tokens of it.
absl::Status AddAgreement(StageContext& context, const SourceModel& source, const Model& reference, const Model& model,
                          EvaluationRecord& record);

}  // namespace regroup
