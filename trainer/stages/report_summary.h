// The report in one sentence and at most four figures, for the page and for the terminal. Pure.
#pragma once

#include <nlohmann/json.hpp>

namespace regroup {

/// {"sentence": ..., "figures": [{"label", "value", "detail"}]} from the rest of the report.
nlohmann::ordered_json SummariseReport(const nlohmann::ordered_json& report);

/// The row of a sweep with the lowest perplexity; null without rows or perplexities.
const nlohmann::ordered_json* BestRow(const nlohmann::ordered_json& report);

/// "2 heads, procrustes + refine + l0"
std::string ArmTitle(const nlohmann::ordered_json& row);

/// The cell of a decode grid with the largest speed-up; null for an empty grid.
const nlohmann::ordered_json* FastestCell(const nlohmann::ordered_json& latency);

}  // namespace regroup
