// Numbers and text as the report shows them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/number_text.h"  // IWYU pragma: export

namespace regroup {

/// The number under `key`; nothing where it is missing or null.
std::optional<double> NumberIn(const nlohmann::ordered_json& object, const char* key);

/// "+3.4 %" for 1.034.
std::string ChangeText(double ratio);
/// "1 head", "3 heads"
std::string CountText(size_t count, const std::string& word);
/// Safe inside an HTML element or a quoted attribute.
std::string Escape(const std::string& text);

}  // namespace regroup
