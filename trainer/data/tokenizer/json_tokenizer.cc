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
  for (const nlohmann::json& json : tokens) {
    REGROUP_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(json));
    // An id that is not a number becomes -1, which is no valid id.
    token.id = IntegerIn<int32_t>(json.at("id")).value_or(-1);
    REGROUP_RETURN_IF_ERROR(added_.Add(std::move(token), ModelIds(), model_->vocabulary().size()));
  }
  return BuildFinders();
}

absl::Status JsonTokenizer::AddConfiguredTokens(ConfiguredTokens tokens) {
  REGROUP_RETURN_IF_ERROR(added_.AddConfigured(std::move(tokens), ModelIds(), model_->vocabulary().size()));
  return BuildFinders();
}

AddedVocabulary::ModelIds JsonTokenizer::ModelIds() const {
  return [this](std::string_view token) { return model_->vocabulary().IdOf(token); };
}

absl::Status JsonTokenizer::CheckPostProcessor() const {
  for (const int32_t id : post_processor_->Process({})) {
    if (id < 0 || id >= vocabulary_size()) {
      return absl::InvalidArgumentError(fmt::format("post_processor: token {} is not in the vocabulary", id));
    }
  }
  return absl::OkStatus();
}

absl::Status JsonTokenizer::BuildFinders() {
  raw_finder_ = normalized_finder_ = AddedTokenFinder();
  for (AddedToken token : added_.tokens()) {
    if (!token.normalized) {
      raw_finder_.Add(std::move(token));
      continue;
    }
    REGROUP_ASSIGN_OR_RETURN(TextPiece normalized, normalizer_->Normalize({std::move(token.content)}));
    token.content = std::move(normalized.text);
    normalized_finder_.Add(std::move(token));
  }
  return absl::OkStatus();
}

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
