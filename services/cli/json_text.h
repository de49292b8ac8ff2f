// Messages and JSON values as text on standard output.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace regroup {

/// Returns a message in proto JSON with the contract's own field names, `spread` over lines or on one line. `complete`
/// also prints what is zero or empty, except `optional` fields that are unset.
std::string JsonOf(const google::protobuf::Message& message, bool spread = true, bool complete = false);

/// Any JSON as a person reads it: keys and values below one another, lists of objects as tables.
std::string ReadableText(const nlohmann::json& value, const std::string& indent = "");

}  // namespace regroup
