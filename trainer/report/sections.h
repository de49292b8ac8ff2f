// The sections of report.html, each from a part of report.json; an empty text where the report lacks that part. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

/// The summary's sentence and figures.
std::string SummarySection(const nlohmann::ordered_json& report);
/// Every model that was measured, and the paired tests.
std::string QualitySection(const nlohmann::ordered_json& report);
/// Of a sweep: perplexity against the number of KV heads, and a table of what each combination does.
std::string SweepSection(const nlohmann::ordered_json& report);
/// The decode grid next to the bound, prefill, cache bytes, and what alignment costs.
std::string DecodeSection(const nlohmann::ordered_json& report);
/// Residuals of every layer, and the similarity of heads before and after alignment.
std::string LayersSection(const nlohmann::ordered_json& report);
/// Loss, learning rate and gates.
std::string TrainingSection(const nlohmann::ordered_json& report);
/// Where everything comes from, and how long it took.
std::string ProvenanceSection(const nlohmann::ordered_json& report);

}  // namespace regroup
