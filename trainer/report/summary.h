// Summarises the report in one sentence and at most four figures, for the page and for the terminal. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

/// Returns {"sentence": ..., "figures": [{"label", "value", "detail"}]} from the rest of the report.
nlohmann::ordered_json SummariseReport(const nlohmann::ordered_json& report);

/// Returns the row of a sweep with the lowest perplexity; null without rows or perplexities.
const nlohmann::ordered_json* BestRow(const nlohmann::ordered_json& report);

/// Returns the figures of the result, in a sweep those of the best row; null if there are none.
const nlohmann::ordered_json* BestResult(const nlohmann::ordered_json& report);

/// Returns the alignment of a row of a sweep and whether layers were trained one by one: "procrustes + layerwise".
std::string MergeTitle(const nlohmann::ordered_json& row);

/// Returns, for example, "2 heads, procrustes + layerwise + refine + l0".
std::string ArmTitle(const nlohmann::ordered_json& row);

/// Returns the escaped name of a layer, or its number in older reports, which have no names.
std::string LayerLabel(const nlohmann::ordered_json& layer);

/// Returns the cell of a decode grid where memory allows the largest speed-up, because there the cache weighs most;
/// null for an empty grid. It is not chosen by the measured speed-up, which would prefer a lucky measurement.
const nlohmann::ordered_json* HeadlineCell(const nlohmann::ordered_json& latency);

}  // namespace regroup
