// Formats report.json for a terminal, no wider than it. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "services/cli/terminal.h"

namespace regroup {

/// Returns the summary, every measured model, multiple choice, decoding and the time of each stage, without parts that
/// the report lacks. Older reports have no summary.
std::string ReportText(const nlohmann::json& report, const Terminal& terminal);

/// Returns `text` in lines of at most `columns` columns, broken at spaces, each starting with `indent` and ending with
/// a newline.
std::string WrapText(const std::string& text, size_t columns, const std::string& indent);

}  // namespace regroup
