// Renders the sections of report.html, each from a part of report.json. A section is empty if the report does not have
// that part. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

/// Shows the summary's sentence and figures.
std::string SummarySection(const nlohmann::ordered_json& report);
/// Shows every measured model, and the paired tests.
std::string QualitySection(const nlohmann::ordered_json& report);
/// Shows perplexity by context and the needle test, which are parts of the quality section.
std::string ContextTables(const nlohmann::ordered_json& report);
/// Shows what source and result say to the job's prompts.
std::string AnswersSection(const nlohmann::ordered_json& report);
/// For a sweep, shows perplexity against the number of KV heads and a table of all combinations.
std::string SweepSection(const nlohmann::ordered_json& report);
/// Shows the decode grid next to the bound, prefill, cache bytes, and the cost of alignment.
std::string DecodeSection(const nlohmann::ordered_json& report);
/// Shows what source and result take on several GPUs, and how many tokens and requests fit.
std::string ServingSection(const nlohmann::ordered_json& report);
/// Shows the residuals of every layer, the similarity of heads before and after alignment, and the errors before and
/// after layerwise distillation.
std::string LayersSection(const nlohmann::ordered_json& report);
/// Shows loss, learning rate and gates.
std::string TrainingSection(const nlohmann::ordered_json& report);
/// Shows the sources of all data, and how long each stage took.
std::string ProvenanceSection(const nlohmann::ordered_json& report);

}  // namespace regroup
