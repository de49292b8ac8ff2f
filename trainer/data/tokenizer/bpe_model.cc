#include "trainer/data/tokenizer/bpe_model.h"

#include <fmt/format.h>

#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/bpe_merging.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

constexpr size_t kMaxCachedBytes = 64;
constexpr size_t kMaxCachedPiecesOfPart = 8192;

bool IsSet(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && !found->is_null() && *found != "" && *found != 0.0;
}

absl::Status CheckSupported(const nlohmann::json& json) {
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    if (IsSet(json, key)) return absl::UnimplementedError(fmt::format("model: \"{}\" is not supported", key));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::pair<std::string, std::string>> ParseMergePair(const nlohmann::json& merge) {
  if (merge.is_array() && merge.size() == 2) return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  if (merge.is_string()) {
    const std::string text = merge;
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return absl::InvalidArgumentError(fmt::format("model: merge {} is not a pair of tokens", merge.dump()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::Parse(const nlohmann::json& json) {
  REGROUP_RETURN_IF_ERROR(CheckSupported(json));
  std::unique_ptr<BpeModel> model(new BpeModel());
  for (const auto& [token, id] : json.at("vocab").items()) {
    REGROUP_RETURN_IF_ERROR(model->vocabulary_.Add(token, IntegerIn<int64_t>(id).value_or(-1)));
  }
  REGROUP_RETURN_IF_ERROR(model->ParseMerges(json.at("merges")));
  model->fuse_unknown_ = json.value("fuse_unk", false);
  model->ignore_merges_ = json.value("ignore_merges", false);
  if (IsSet(json, "unk_token")) {
    const std::string unknown = json.at("unk_token");
    model->unknown_ = model->vocabulary_.IdOf(unknown);
    if (!model->unknown_) {
      return absl::InvalidArgumentError(fmt::format("model: unk_token \"{}\" is not in the vocabulary", unknown));
    }
  }
  if (json.value("byte_fallback", false)) model->byte_tokens_ = ByteTokensOf(model->vocabulary_);
  return model;
}

absl::Status BpeModel::ParseMerges(const nlohmann::json& merges) {
  merges_ = MergeTable(merges.size());
  int32_t rank = 0;
  for (const nlohmann::json& merge : merges) {
    REGROUP_ASSIGN_OR_RETURN(const auto pair, ParseMergePair(merge));
    const std::optional<int32_t> left = vocabulary_.IdOf(pair.first);
    const std::optional<int32_t> right = vocabulary_.IdOf(pair.second);
    const std::optional<int32_t> merged = vocabulary_.IdOf(pair.first + pair.second);
    if (!left || !right || !merged) {
      return absl::InvalidArgumentError(
          fmt::format("model: merge {} of \"{}\" and \"{}\" needs a token that is not in the vocabulary", rank,
                      pair.first, pair.second));
    }
    merges_.Set(*left, *right, {rank++, *merged});
  }
  return absl::OkStatus();
}

absl::Status BpeModel::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.size() > kMaxCachedBytes) {
    const std::vector<int32_t> tokens = EncodeUncached(piece);
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    return absl::OkStatus();
  }
  CachePart& part = cache_[Hash()(piece) % cache_.size()];
  {
    const std::lock_guard lock(part.mutex);
    const auto found = part.ids_by_piece.find(piece);
    if (found != part.ids_by_piece.end()) {
      ids.insert(ids.end(), found->second.begin(), found->second.end());
      return absl::OkStatus();
    }
  }
  std::vector<int32_t> tokens = EncodeUncached(piece);
  ids.insert(ids.end(), tokens.begin(), tokens.end());
  const std::lock_guard lock(part.mutex);
  if (part.ids_by_piece.size() < kMaxCachedPiecesOfPart) part.ids_by_piece.emplace(piece, std::move(tokens));
  return absl::OkStatus();
}

std::vector<int32_t> BpeModel::EncodeUncached(std::string_view piece) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> whole = vocabulary_.IdOf(piece)) return {*whole};
  }
  return MergeTokens(StartTokens(piece), merges_);
}

// An unknown token waits until a known character or the end, so that adjacent ones can be fused into one; the tokens of
// a byte fallback do not end the wait. The reference implementation has this order, and ids depend on it.
std::vector<int32_t> BpeModel::StartTokens(std::string_view piece) const {
  std::vector<int32_t> tokens;
  bool unknown_waits = false;
  for (size_t at = 0; at < piece.size();) {
    const std::string_view character = piece.substr(at, CharacterBytes(piece[at]));
    at += character.size();
    if (const std::optional<int32_t> id = vocabulary_.IdOf(character)) {
      if (unknown_waits) tokens.push_back(*unknown_);
      unknown_waits = false;
      tokens.push_back(*id);
    } else if (!AppendByteTokens(character, byte_tokens_, tokens) && unknown_) {
      if (unknown_waits && !fuse_unknown_) tokens.push_back(*unknown_);
      unknown_waits = true;
    }
  }
  if (unknown_waits) tokens.push_back(*unknown_);
  return tokens;
}

}  // namespace regroup
