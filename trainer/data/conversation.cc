#include "trainer/data/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kTools[] = "tools";
constexpr char kVariables[] = "chat_template_kwargs";
/// The roles of ShareGPT, and what templates call them.
const std::map<std::string_view, std::string_view> kRoles = {
    {"system", "system"}, {"human", "user"}, {"user", "user"}, {"gpt", "assistant"}, {"assistant", "assistant"}};
/// Arguments of apply_chat_template that are not variables of a template, or that Regroup sets itself.
constexpr std::array<std::string_view, 16> kArguments = {"add_generation_prompt",
                                                         "chat_template",
                                                         "continue_final_message",
                                                         "conversation",
                                                         "conversations",
                                                         "documents",
                                                         "max_length",
                                                         "messages",
                                                         "padding",
                                                         "return_assistant_tokens_mask",
                                                         "return_dict",
                                                         "return_tensors",
                                                         "tokenize",
                                                         "tokenizer_kwargs",
                                                         "tools",
                                                         "truncation"};

bool AreObjects(const Json& list) {
  return list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& one) { return one.is_object(); });
}

bool IsShareGpt(const Json& messages) {
  return messages[0].contains("from") && messages[0].contains("value") && !messages[0].contains("role");
}

absl::StatusOr<Json> FromShareGpt(const JsonLinesReader& lines, const std::string& field, const Json& messages) {
  Json result = Json::array();
  for (const Json& message : messages) {
    const Json from = message.value("from", Json());
    const auto role = from.is_string() ? kRoles.find(from.get_ref<const std::string&>()) : kRoles.end();
    if (role == kRoles.end()) {
      return lines.ErrorHere(fmt::format(
          "\"from\": {} in \"{}\" is not human, user, gpt, assistant or system; write \"role\" and \"content\" instead",
          from.dump(), field));
    }
    if (!message.contains("value") || !message["value"].is_string()) {
      return lines.ErrorHere(fmt::format("\"value\" in \"{}\" must be a string", field));
    }
    result.push_back({{"role", role->second}, {"content", message["value"]}});
  }
  return result;
}

absl::Status CheckVariables(const JsonLinesReader& lines, const Json& variables) {
  if (variables.is_null()) return absl::OkStatus();
  if (!variables.is_object()) return lines.ErrorHere(fmt::format("the field \"{}\" must be an object", kVariables));
  for (const auto& [name, value] : variables.items()) {
    if (std::find(kArguments.begin(), kArguments.end(), name) == kArguments.end()) continue;
    return lines.ErrorHere(
        fmt::format("\"{}\" in \"{}\" is not a variable of a template; remove it", name, kVariables));
  }
  return absl::OkStatus();
}

}  // namespace

bool MayBeConversation(const nlohmann::json& value) {
  return value.is_array() && (value.empty() || value[0].is_object());
}

absl::StatusOr<std::string> ConversationField(const JsonLinesReader& lines, const nlohmann::json& object) {
  std::string found;
  for (const char* field : {"messages", "conversations"}) {
    if (!object.contains(field) || !MayBeConversation(object.at(field))) continue;
    if (!found.empty()) {
      return lines.ErrorHere(
          "the line has \"messages\" and \"conversations\"; the key `field` beside `data` says which one to read");
    }
    found = field;
  }
  return found;
}

absl::StatusOr<Conversation> ReadConversation(const JsonLinesReader& lines, const std::string& field) {
  // The order of the keys counts, and only this parser keeps it. The line was checked when it was read.
  Json line = Json::parse(lines.line(), nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) return lines.ErrorHere("the line must be a JSON object");
  Conversation result{.messages = std::move(line[field]),
                      .tools = line.value(kTools, Json()),
                      .variables = line.value(kVariables, Json())};
  if (!AreObjects(result.messages)) {
    return lines.ErrorHere(fmt::format("the conversation in \"{}\" must be a list of objects", field));
  }
  if (result.messages.empty()) return lines.ErrorHere(fmt::format("the conversation in \"{}\" is empty", field));
  if (!result.tools.is_null() && !AreObjects(result.tools)) {
    return lines.ErrorHere(fmt::format("the field \"{}\" must be a list of objects", kTools));
  }
  REGROUP_RETURN_IF_ERROR(CheckVariables(lines, result.variables));
  if (IsShareGpt(result.messages)) {
    REGROUP_ASSIGN_OR_RETURN(result.messages, FromShareGpt(lines, field, result.messages));
  }
  return result;
}

}  // namespace regroup
