#include "trainer/data/tokenizer/sentencepiece_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/tokenizer_file.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

bool ReadFlag(const nlohmann::json& config, const char* key, bool otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Tokenizer>> SentencePieceTokenizer::Open(const std::filesystem::path& folder,
                                                                              const std::string& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string content, ReadInput(folder / file));
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::Parse(content, error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not a sentencepiece model: {}", (folder / file).string(), error));
  }
  std::shared_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer(std::move(model)));
  const std::filesystem::path config_path = folder / "tokenizer_config.json";
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json config, ReadJsonObjectIfPresent(config_path));
  REGROUP_RETURN_IF_ERROR(tokenizer->AddModelTokens());
  REGROUP_ASSIGN_OR_RETURN(ConfiguredTokens tokens, ReadConfiguredTokens(folder, nullptr));
  REGROUP_RETURN_IF_ERROR(
      tokenizer->added_.AddConfigured(std::move(tokens), tokenizer->ModelIds(), tokenizer->model_->size()));
  for (const AddedToken& token : tokenizer->added_.tokens()) tokenizer->finder_.Add(token);
  REGROUP_ASSIGN_OR_RETURN(tokenizer->special_, ReadSpecialIds(folder, [&tokenizer](std::string_view token) {
                             return tokenizer->IdOf(token);
                           }));
  const bool is_llama = file == "tokenizer.model";
  if (!tokenizer->special_.bos && is_llama) tokenizer->special_.bos = tokenizer->model_->bos_id();
  if (!tokenizer->special_.eos) tokenizer->special_.eos = tokenizer->model_->eos_id();
  tokenizer->adds_bos_ = ReadFlag(config, "add_bos_token", is_llama);
  tokenizer->adds_eos_ = ReadFlag(config, "add_eos_token", !is_llama);
  return tokenizer;
}

absl::Status SentencePieceTokenizer::AddModelTokens() {
  for (const std::optional<int32_t> id : {model_->unknown_id(), model_->bos_id(), model_->eos_id()}) {
    if (!id) continue;
    AddedToken token;
    token.content = model_->PieceOf(*id);
    token.id = *id;
    token.special = true;
    REGROUP_RETURN_IF_ERROR(added_.Add(std::move(token), ModelIds(), model_->size()));
  }
  return absl::OkStatus();
}

AddedVocabulary::ModelIds SentencePieceTokenizer::ModelIds() const {
  return [this](std::string_view token) { return model_->IdOf(token); };
}

std::optional<int32_t> SentencePieceTokenizer::IdOf(std::string_view token) const {
  const std::optional<int32_t> added = added_.IdOf(token);
  return added ? added : model_->IdOf(token);
}

int64_t SentencePieceTokenizer::vocabulary_size() const { return std::max(model_->size(), added_.end_id()); }

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::Encode(std::string_view text) const {
  REGROUP_ASSIGN_OR_RETURN(std::vector<int32_t> ids, EncodeOrdinary(text));
  if (adds_bos_ && special_.bos) ids.insert(ids.begin(), *special_.bos);
  if (adds_eos_ && special_.eos) ids.push_back(*special_.eos);
  return ids;
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::EncodeOrdinary(std::string_view text) const {
  if (!IsValidUtf8(text)) return absl::InvalidArgumentError("the text is not valid UTF-8");
  std::vector<int32_t> ids;
  for (const AddedTokenSplit& split : finder_.Split(text)) {
    if (split.id) {
      ids.push_back(*split.id);
      continue;
    }
    const std::vector<int32_t> part =
        model_->Encode(text.substr(split.range.begin, split.range.end - split.range.begin));
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return ids;
}

absl::StatusOr<std::string> SentencePieceTokenizer::Decode(std::span<const int32_t> ids) const {
  std::string text;
  std::vector<int32_t> run;
  const auto flush = [&] {
    text += model_->Decode(run);
    run.clear();
  };
  for (const int32_t id : ids) {
    const std::string* added = added_.TokenOf(id);
    if (added == nullptr && (id < 0 || id >= model_->size())) {
      return absl::InvalidArgumentError(fmt::format("id {} is not in the vocabulary", id));
    }
    if (added == nullptr) {
      run.push_back(id);
      continue;
    }
    flush();
    text += *added;
  }
  flush();
  return text;
}

}  // namespace regroup
