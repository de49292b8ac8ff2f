// report.json as text for a terminal, at most as wide as it. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "services/cli/terminal.h"

namespace regroup {

/// The summary, every measured model, multiple choice, decoding and the time of each stage; parts that the report
/// lacks are left out. Older reports without a summary show the rest.
std::string ReportText(const nlohmann::json& report, const Terminal& terminal);

/// `text` in lines of at most `columns` columns, broken at spaces, each starting with `indent` and ending with a
/// newline.
std::string WrapText(const std::string& text, size_t columns, const std::string& indent);

}  // namespace regroup
