// report.html: the figures of report.json as one page that needs nothing else: no script, no font, no picture from
// elsewhere. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

std::string RenderReport(const nlohmann::ordered_json& report);

}  // namespace regroup
