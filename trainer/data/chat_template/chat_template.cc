#include "trainer/data/chat_template/chat_template.h"

#include <fmt/format.h>

#include <utility>

#include "services/common/base/status_macros.h"
#include "trainer/data/chat_template/evaluator.h"
#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/parser.h"
#include "trainer/data/chat_template/template_files.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

using chat::Failure;
using chat::Value;

absl::Status StatusOf(const Failure& failure, const std::string& file) {
  const std::string place = fmt::format("{}:{}", file, failure.line);
  switch (failure.kind) {
    case Failure::Kind::kUnsupported:
      return absl::UnimplementedError(
          fmt::format("{}: the chat template uses what Regroup does not support: {}", place, failure.what));
    case Failure::Kind::kMalformed:
      return absl::InvalidArgumentError(fmt::format("{}: the chat template is malformed: {}", place, failure.what));
    case Failure::Kind::kRaised:
      return absl::InvalidArgumentError(fmt::format("the chat template refuses the conversation: {}", failure.what));
    case Failure::Kind::kWrongValue:
      break;
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: the chat template fails on the conversation: {}", place, failure.what));
}

/// Returns what Transformers passes to the template. Throws Failure for a value that is not supported.
std::map<std::string, Value> ValuesOf(const Conversation& conversation,
                                      const std::map<std::string, std::string>& tokens) {
  std::map<std::string, Value> values;
  for (const auto& [name, token] : tokens) values[name] = Value::String(token);
  if (conversation.variables.is_object()) {
    for (const auto& [name, value] : conversation.variables.items()) values[name] = Value::FromJson(value);
  }
  values["messages"] = Value::FromJson(conversation.messages);
  values["tools"] = Value::FromJson(conversation.tools);
  values["documents"] = Value::None();
  values["add_generation_prompt"] = Value::Bool(conversation.asks_for_answer);
  return values;
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string file;
  chat::Template tree;

  static absl::StatusOr<std::shared_ptr<const Parsed>> Of(const TemplateText& source) {
    if (source.text.size() > kMaxTemplateBytes) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the chat template has more than {} bytes", source.file, kMaxTemplateBytes));
    }
    if (!IsValidUtf8(source.text)) {
      return absl::InvalidArgumentError(fmt::format("{}: the chat template is not UTF-8", source.file));
    }
    try {
      return std::make_shared<const Parsed>(Parsed{.file = source.file, .tree = chat::Parse(source.text)});
    } catch (const Failure& failure) {
      return StatusOf(failure, source.file);
    }
  }
};

struct ChatTemplate::State {
  std::shared_ptr<const Parsed> plain;
  /// An error counts only once a conversation has tools.
  std::optional<absl::StatusOr<std::shared_ptr<const Parsed>>> with_tools;
  std::map<std::string, std::string> tokens, unknown;
};

absl::StatusOr<ChatTemplate> ChatTemplate::Load(const std::filesystem::path& folder,
                                                const std::filesystem::path& original) {
  REGROUP_ASSIGN_OR_RETURN(TemplateFiles files, FindTemplates(folder, original));
  auto state = std::make_shared<State>();
  REGROUP_ASSIGN_OR_RETURN(state->plain, Parsed::Of(*files.plain));
  if (files.with_tools) state->with_tools = Parsed::Of(*files.with_tools);
  state->tokens = std::move(files.tokens);
  state->unknown = std::move(files.unknown);
  return ChatTemplate(std::move(state));
}

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view source, std::string file,
                                                 std::map<std::string, std::string> tokens) {
  auto state = std::make_shared<State>();
  REGROUP_ASSIGN_OR_RETURN(state->plain, Parsed::Of({.file = std::move(file), .text = std::string(source)}));
  state->tokens = std::move(tokens);
  return ChatTemplate(std::move(state));
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation, size_t most_bytes) const {
  std::shared_ptr<const Parsed> parsed = state_->plain;
  if (!conversation.tools.is_null() && state_->with_tools) {
    REGROUP_ASSIGN_OR_RETURN(parsed, *state_->with_tools);
  }
  chat::Variables variables{.unknown = state_->unknown};
  try {
    variables.values = ValuesOf(conversation, state_->tokens);
  } catch (const Failure& failure) {
    return absl::InvalidArgumentError(failure.what);
  }
  try {
    return chat::Evaluator(parsed->tree, variables, most_bytes).Run();
  } catch (const Failure& failure) {
    return StatusOf(failure, parsed->file);
  }
}

}  // namespace regroup
