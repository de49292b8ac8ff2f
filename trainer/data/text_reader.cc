#include "trainer/data/text_reader.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/conversation.h"

namespace regroup {
namespace {

absl::StatusOr<std::vector<std::string>> ParseChoices(const JsonLinesReader& lines, const nlohmann::json& object) {
  const auto found = object.find("choices");
  if (found == object.end() || !found->is_array() || found->size() < 2) {
    return lines.ErrorHere("the field \"choices\" must be a list of at least two strings");
  }
  std::vector<std::string> choices;
  for (const nlohmann::json& choice : *found) {
    if (!choice.is_string()) return lines.ErrorHere("the field \"choices\" must be a list of at least two strings");
    choices.push_back(choice.get<std::string>());
  }
  return choices;
}

absl::StatusOr<int64_t> ParseLabel(const JsonLinesReader& lines, const nlohmann::json& object, size_t choices) {
  const auto found = object.find("label");
  if (found != object.end() && found->is_number_unsigned() && found->get<uint64_t>() < choices) {
    return found->get<int64_t>();
  }
  return lines.ErrorHere(
      fmt::format("the field \"label\" must be the index of the correct choice, 0 to {}", choices - 1));
}

}  // namespace

absl::StatusOr<TextReader> TextReader::Open(const std::filesystem::path& path, std::string field,
                                            const Tokenizer* tokenizer) {
  REGROUP_ASSIGN_OR_RETURN(JsonLinesReader lines, JsonLinesReader::Open(path));
  return TextReader(std::move(lines), std::move(field), tokenizer);
}

absl::StatusOr<std::string> TextReader::Render(const std::string& field) {
  is_conversation_ = true;
  REGROUP_ASSIGN_OR_RETURN(const Conversation conversation, ReadConversation(lines_, field));
  const absl::StatusOr<std::string> text =
      tokenizer_ == nullptr ? absl::NotFoundError("there is no chat template") : tokenizer_->Render(conversation);
  if (text.ok()) return text;
  return lines_.ErrorHere(fmt::format("the conversation in \"{}\": {}", field, std::string(text.status().message())));
}

absl::StatusOr<std::optional<std::string>> TextReader::Next() {
  is_conversation_ = false;
  REGROUP_ASSIGN_OR_RETURN(const std::optional<nlohmann::json> object, lines_.Next());
  if (!object) return std::nullopt;
  if (object->contains(field_)) {
    return MayBeConversation(object->at(field_)) ? Render(field_) : lines_.TextField(*object, field_);
  }
  REGROUP_ASSIGN_OR_RETURN(const std::string conversation, ConversationField(lines_, *object));
  if (!conversation.empty()) return Render(conversation);
  if (object->contains("prompt") && object->contains("completion")) {
    return lines_.ErrorHere(
        fmt::format("the line has \"prompt\" and \"completion\", which only finetune.loss: bild "
                    "reads; it needs a \"{}\" here",
                    field_));
  }
  const absl::Status missing = lines_.TextField(*object, field_).status();
  return absl::InvalidArgumentError(
      fmt::format("{}; the key `field` beside `data` says which one has the text", std::string(missing.message())));
}

absl::StatusOr<InstructionReader> InstructionReader::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(JsonLinesReader lines, JsonLinesReader::Open(path));
  return InstructionReader(std::move(lines));
}

absl::StatusOr<std::optional<InstructionRecord>> InstructionReader::Next() {
  REGROUP_ASSIGN_OR_RETURN(const std::optional<nlohmann::json> object, lines_.Next());
  if (!object) return std::nullopt;
  if (!object->contains("prompt") && object->contains("text")) {
    return lines_.ErrorHere(
        "the line has a \"text\", but finetune.loss: bild reads \"prompt\" and \"completion\"; loss: kl reads texts");
  }
  REGROUP_ASSIGN_OR_RETURN(const std::string conversation, ConversationField(lines_, *object));
  if (!object->contains("prompt") && !conversation.empty()) {
    return lines_.ErrorHere(fmt::format(
        "\"{}\" is a conversation, but finetune.loss: bild reads \"prompt\" and \"completion\"; loss: kl reads "
        "conversations",
        conversation));
  }
  InstructionRecord record;
  REGROUP_ASSIGN_OR_RETURN(record.prompt, lines_.TextField(*object, "prompt"));
  REGROUP_ASSIGN_OR_RETURN(record.completion, lines_.TextField(*object, "completion"));
  return record;
}

absl::StatusOr<TranscriptReader> TranscriptReader::Open(const std::filesystem::path& path, std::string field) {
  REGROUP_ASSIGN_OR_RETURN(JsonLinesReader lines, JsonLinesReader::Open(path));
  return TranscriptReader(std::move(lines), path.parent_path(), std::move(field));
}

absl::StatusOr<std::optional<TranscriptRecord>> TranscriptReader::Next() {
  REGROUP_ASSIGN_OR_RETURN(const std::optional<nlohmann::json> object, lines_.Next());
  if (!object) return std::nullopt;
  if (!object->contains("audio")) {
    return lines_.ErrorHere("the field \"audio\" is missing; the model reads audio files and their transcripts");
  }
  TranscriptRecord record;
  REGROUP_ASSIGN_OR_RETURN(const std::string audio, lines_.TextField(*object, "audio"));
  if (audio.empty() || audio.find('\0') != std::string::npos) {
    return lines_.ErrorHere("the field \"audio\" must be the path of a file");
  }
  record.audio = folder_ / audio;
  REGROUP_ASSIGN_OR_RETURN(record.text, lines_.TextField(*object, field_));
  return record;
}

absl::StatusOr<MultipleChoiceReader> MultipleChoiceReader::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(JsonLinesReader lines, JsonLinesReader::Open(path));
  return MultipleChoiceReader(std::move(lines));
}

absl::StatusOr<std::optional<MultipleChoiceRecord>> MultipleChoiceReader::Next() {
  REGROUP_ASSIGN_OR_RETURN(const std::optional<nlohmann::json> object, lines_.Next());
  if (!object) return std::nullopt;
  MultipleChoiceRecord record;
  REGROUP_ASSIGN_OR_RETURN(record.context, lines_.TextField(*object, "context"));
  REGROUP_ASSIGN_OR_RETURN(record.choices, ParseChoices(lines_, *object));
  REGROUP_ASSIGN_OR_RETURN(record.label, ParseLabel(lines_, *object, record.choices.size()));
  return record;
}

}  // namespace regroup
