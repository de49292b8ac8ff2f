// Renders report.html: the figures of report.json as one self-contained page without scripts, external fonts or
// external pictures. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

std::string RenderReport(const nlohmann::ordered_json& report);

}  // namespace regroup
