// The report in one sentence and at most four figures, for the page and for the terminal. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

/// {"sentence": ..., "figures": [{"label", "value", "detail"}]} from the rest of the report.
nlohmann::ordered_json SummariseReport(const nlohmann::ordered_json& report);

/// The row of a sweep with the lowest perplexity; null without rows or perplexities.
const nlohmann::ordered_json* BestRow(const nlohmann::ordered_json& report);

/// "2 heads, procrustes + refine + l0"
std::string ArmTitle(const nlohmann::ordered_json& row);

/// The name of a layer, escaped; its number in older reports, which have no names.
std::string LayerLabel(const nlohmann::ordered_json& layer);

/// The cell of a decode grid where memory allows the largest speed-up, which is where the cache weighs most; null for
/// an empty grid. Not the luckiest measurement.
const nlohmann::ordered_json* HeadlineCell(const nlohmann::ordered_json& latency);

}  // namespace regroup
