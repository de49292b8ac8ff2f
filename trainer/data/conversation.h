// A line of data that holds a conversation: a list of objects with "role" and "content", or, as ShareGPT writes it,
// with "from" and "value". Pure functions, for any thread.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/data/chat_template/chat_template.h"
#include "trainer/data/json_lines_reader.h"

namespace regroup {

/// Returns true for a list that is empty or begins with an object, which is not a text.
bool MayBeConversation(const nlohmann::json& value);

/// Returns which of the usual fields of a line, "messages" or "conversations", holds a conversation; empty if none
/// does. INVALID_ARGUMENT if both do.
absl::StatusOr<std::string> ConversationField(const JsonLinesReader& lines, const nlohmann::json& object);

/// Returns the conversation in a field of the line that `lines` read last, with the line's "tools" and
/// "chat_template_kwargs". INVALID_ARGUMENT names file, line and key.
absl::StatusOr<Conversation> ReadConversation(const JsonLinesReader& lines, const std::string& field);

}  // namespace regroup
