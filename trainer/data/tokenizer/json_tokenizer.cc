#include "trainer/data/tokenizer/json_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

AddedToken ParseAddedToken(const nlohmann::json& json) {
  AddedToken token;
  token.content = json.at("content");
  // An id that is not a number becomes -1, which is no valid id and is rejected later.
  token.id = IntegerIn<int32_t>(json.at("id")).value_or(-1);
  token.single_word = json.value("single_word", false);
  token.left_strip = json.value("lstrip", false);
  token.right_strip = json.value("rstrip", false);
  token.special = json.value("special", false);
  token.normalized = json.value("normalized", !token.special);
  return token;
}

const nlohmann::json& MemberOrNull(const nlohmann::json& json, const char* key) {
  static const nlohmann::json null;
  const auto found = json.find(key);
  return found == json.end() ? null : *found;
}

}  // namespace

absl::StatusOr<std::shared_ptr<JsonTokenizer>> JsonTokenizer::Parse(const nlohmann::json& json) {
  try {
    REGROUP_ASSIGN_OR_RETURN(std::unique_ptr<PieceModel> model, ParsePieceModel(json.at("model")));
    std::shared_ptr<JsonTokenizer> tokenizer(new JsonTokenizer(std::move(model)));
    REGROUP_ASSIGN_OR_RETURN(tokenizer->normalizer_, ParseNormalizer(MemberOrNull(json, "normalizer")));
    REGROUP_ASSIGN_OR_RETURN(tokenizer->pre_tokenizer_, ParsePreTokenizer(MemberOrNull(json, "pre_tokenizer")));
    REGROUP_ASSIGN_OR_RETURN(tokenizer->post_processor_, ParsePostProcessor(MemberOrNull(json, "post_processor")));
    tokenizer->decoder_ = ParseTokenDecoder(MemberOrNull(json, "decoder"));
    REGROUP_RETURN_IF_ERROR(tokenizer->ParseAddedTokens(MemberOrNull(json, "added_tokens")));
    REGROUP_RETURN_IF_ERROR(tokenizer->CheckPostProcessor());
    return tokenizer;
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("malformed: {}", error.what()));
  }
}

absl::Status JsonTokenizer::ParseAddedTokens(const nlohmann::json& tokens) {
  for (const nlohmann::json& token : tokens) REGROUP_RETURN_IF_ERROR(AddToken(ParseAddedToken(token)));
  return absl::OkStatus();
}

absl::Status JsonTokenizer::CheckPostProcessor() const {
  for (const int32_t id : post_processor_->Process({})) {
    if (id < 0 || id >= vocabulary_size()) {
      return absl::InvalidArgumentError(fmt::format("post_processor: token {} is not in the vocabulary", id));
    }
  }
  return absl::OkStatus();
}

// For tokens that are not in the model, the reference implementation assigns ids by order and ignores the id in the
// file. If the two differ, it is impossible to tell which one the model was trained with.
absl::Status JsonTokenizer::AddToken(AddedToken token) {
  const int64_t expected = IdOf(token.content).value_or(NextAddedId());
  if (expected != token.id) {
    return absl::InvalidArgumentError(
        fmt::format("added token \"{}\" has id {}, but {} is expected", token.content, token.id, expected));
  }
  REGROUP_RETURN_IF_ERROR(added_.Add(token.content, token.id));
  if (!token.normalized) {
    raw_finder_.Add(std::move(token));
    return absl::OkStatus();
  }
  REGROUP_ASSIGN_OR_RETURN(TextPiece normalized, normalizer_->Normalize({std::move(token.content)}));
  token.content = std::move(normalized.text);
  normalized_finder_.Add(std::move(token));
  return absl::OkStatus();
}

int64_t JsonTokenizer::NextAddedId() const { return std::max(model_->vocabulary().size(), added_.end_id()); }

std::optional<int32_t> JsonTokenizer::IdOf(std::string_view token) const {
  const std::optional<int32_t> added = added_.IdOf(token);
  return added ? added : model_->vocabulary().IdOf(token);
}

int64_t JsonTokenizer::vocabulary_size() const { return std::max(model_->vocabulary().end_id(), added_.end_id()); }

absl::StatusOr<std::vector<int32_t>> JsonTokenizer::Encode(std::string_view text) const {
  REGROUP_ASSIGN_OR_RETURN(std::vector<int32_t> ids, EncodeOrdinary(text));
  return post_processor_->Process(std::move(ids));
}

absl::StatusOr<std::vector<int32_t>> JsonTokenizer::EncodeOrdinary(std::string_view text) const {
  if (!IsValidUtf8(text)) return absl::InvalidArgumentError("the text is not valid UTF-8");
  std::vector<int32_t> ids;
  for (const AddedTokenSplit& split : raw_finder_.Split(text)) {
    if (split.id) {
      ids.push_back(*split.id);
      continue;
    }
    const std::string_view part = text.substr(split.range.begin, split.range.end - split.range.begin);
    const absl::Status status = AppendNormalized(part, split.range.begin == 0, ids);
    if (!status.ok()) return AtFile(status);
  }
  return ids;
}

absl::Status JsonTokenizer::AtFile(const absl::Status& status) const {
  if (file_.empty()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", file_, std::string(status.message())));
}

absl::Status JsonTokenizer::AppendNormalized(std::string_view part, bool starts_text, std::vector<int32_t>& ids) const {
  REGROUP_ASSIGN_OR_RETURN(TextPiece whole, normalizer_->Normalize({std::string(part), starts_text}));
  if (normalized_finder_.empty()) return AppendPieces(std::move(whole), ids);
  for (const AddedTokenSplit& split : normalized_finder_.Split(whole.text)) {
    if (split.id) {
      ids.push_back(*split.id);
      continue;
    }
    REGROUP_RETURN_IF_ERROR(AppendPieces({whole.text.substr(split.range.begin, split.range.end - split.range.begin),
                                          whole.starts_text && split.range.begin == 0},
                                         ids));
  }
  return absl::OkStatus();
}

absl::Status JsonTokenizer::AppendPieces(TextPiece piece, std::vector<int32_t>& ids) const {
  if (piece.text.empty()) return absl::OkStatus();
  std::vector<TextPiece> pieces;
  REGROUP_RETURN_IF_ERROR(pre_tokenizer_->Cut(std::move(piece), pieces));
  for (const TextPiece& one : pieces) REGROUP_RETURN_IF_ERROR(model_->Encode(one.text, ids));
  return absl::OkStatus();
}

absl::StatusOr<std::string> JsonTokenizer::Decode(std::span<const int32_t> ids) const {
  if (!decoder_.ok()) return decoder_.status();
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    const std::string* token = added_.TokenOf(id);
    if (token == nullptr) token = model_->vocabulary().TokenOf(id);
    if (token == nullptr) return absl::InvalidArgumentError(fmt::format("id {} is not in the vocabulary", id));
    tokens.push_back(*token);
  }
  REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> texts, (*decoder_)->Decode(std::move(tokens)));
  std::string whole;
  for (const std::string& text : texts) whole += text;
  return whole;
}

}  // namespace regroup
