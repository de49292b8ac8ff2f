// The chat template of a checkpoint's folder, which turns a conversation into text, as apply_chat_template of
// Transformers 5 does. The folder's files are somebody else's: see the bounds in budget.h.
//
// A bounded subset of Jinja: what it lacks is refused with file and line, and never rendered in another way. README.md
// beside this file says what it has. Immutable; any thread may render.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace regroup {

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

/// A conversation as a line of data gives it.
struct Conversation {
  /// Objects, with keys such as "role" and "content".
  nlohmann::ordered_json messages;
  /// A list of objects, or null.
  nlohmann::ordered_json tools;
  /// Variables of the template, by their names; an object, or null.
  nlohmann::ordered_json variables;
  /// True if the text ends with what makes the model answer (add_generation_prompt of Transformers).
  bool asks_for_answer = false;
};

class ChatTemplate {
 public:
  /// Reads chat_template.jinja, additional_chat_templates/ or "chat_template" of tokenizer_config.json. NOT_FOUND for a
  /// folder without a template; INVALID_ARGUMENT for a malformed one; UNIMPLEMENTED names file, line and what is not
  /// supported. Errors name the files in `original`, if the folder holds copies of that folder's files.
  static absl::StatusOr<ChatTemplate> Load(const std::filesystem::path& folder,
                                           const std::filesystem::path& original = {});
  /// Makes one of its text, for `file` in messages. `tokens` are variables such as bos_token.
  static absl::StatusOr<ChatTemplate> Parse(std::string_view source, std::string file,
                                            std::map<std::string, std::string> tokens = {});

  /// Returns the text. INVALID_ARGUMENT, with the template's message, if it
  /// refuses the conversation, or cannot be evaluated on it; UNIMPLEMENTED as in Load.
  absl::StatusOr<std::string> Render(const Conversation& conversation, size_t most_bytes) const;

 private:
  struct Parsed;
  struct State;
  explicit ChatTemplate(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace regroup
