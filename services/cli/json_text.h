// Formats messages and JSON values for standard output.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace regroup {

/// Returns a message in proto JSON with the field names of the proto files, `spread` over lines or on one line. What a
/// terminal would not show as itself is escaped.
/// `complete` also prints zero and empty fields, except `optional` fields that are unset.
std::string JsonOf(const google::protobuf::Message& message, bool spread = true, bool complete = false);

/// Returns any JSON over several lines, as JsonOf does.
std::string JsonText(const nlohmann::json& value);

/// Returns any JSON as readable text: one key and value per line, lists of objects as tables.
std::string ReadableText(const nlohmann::json& value, const std::string& indent = "");

}  // namespace regroup
