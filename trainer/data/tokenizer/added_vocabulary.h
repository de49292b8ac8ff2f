// The tokens that a tokenizer has beside those of its model, with their ids. Filled by one thread, then read by any.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "trainer/data/tokenizer/added_tokens.h"
#include "trainer/data/tokenizer/configured_tokens.h"
#include "trainer/data/tokenizer/vocabulary.h"

namespace regroup {

class AddedVocabulary {
 public:
  /// Returns the id that a token has in the model.
  using ModelIds = std::function<std::optional<int32_t>(std::string_view token)>;

  /// Adds a token, or replaces the flags of one that is there. It keeps the id that it has, here or in the model of
  /// `model_size` tokens; otherwise it takes the next free one. INVALID_ARGUMENT if it asks for another id: it is
  /// impossible to tell which one the model was trained with.
  absl::Status Add(AddedToken token, const ModelIds& model_ids, int64_t model_size);
  /// Adds the tokens of a folder's other files.
  absl::Status AddConfigured(ConfiguredTokens tokens, const ModelIds& model_ids, int64_t model_size);

  std::optional<int32_t> IdOf(std::string_view token) const { return vocabulary_.IdOf(token); }
  /// Returns null for an id without an added token.
  const std::string* TokenOf(int64_t id) const { return vocabulary_.TokenOf(id); }
  /// Returns one more than the largest id of an added token.
  int64_t end_id() const { return vocabulary_.end_id(); }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  Vocabulary vocabulary_;
  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> place_of_id_;
};

}  // namespace regroup
