#include "trainer/data/tokenizer/added_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {

absl::Status AddedVocabulary::Add(AddedToken token, const ModelIds& model_ids, int64_t model_size) {
  std::optional<int32_t> known = vocabulary_.IdOf(token.content);
  if (!known) known = model_ids(token.content);
  const int64_t id = known ? int64_t{*known} : std::max(model_size, vocabulary_.end_id());
  if (token.id != AddedToken::kAnyId && token.id != id) {
    return absl::InvalidArgumentError(
        fmt::format("added token \"{}\" has id {}, but {} is expected", token.content, token.id, id));
  }
  REGROUP_RETURN_IF_ERROR(vocabulary_.Add(token.content, id));
  token.id = static_cast<int32_t>(id);
  const auto [entry, is_new] = place_of_id_.emplace(token.id, tokens_.size());
  if (is_new) {
    tokens_.push_back(std::move(token));
  } else {
    tokens_[entry->second] = std::move(token);
  }
  return absl::OkStatus();
}

absl::Status AddedVocabulary::AddConfigured(ConfiguredTokens tokens, const ModelIds& model_ids, int64_t model_size) {
  for (AddedToken& token : tokens.table) {
    const absl::Status status = Add(std::move(token), model_ids, model_size);
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        fmt::format("{}: {}", tokens.table_file.string(), std::string(status.message())));
  }
  for (AddedToken& token : tokens.specials) {
    if (!IdOf(token.content)) REGROUP_RETURN_IF_ERROR(Add(std::move(token), model_ids, model_size));
  }
  return absl::OkStatus();
}

}  // namespace regroup
