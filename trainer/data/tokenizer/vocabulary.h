// Maps tokens to ids and ids to tokens. Filled by one thread, then read by any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"

namespace regroup {

class Vocabulary {
 public:
  /// Adds a token. INVALID_ARGUMENT for an id that another token has, or that is negative or above 10 million.
  absl::Status Add(std::string_view token, int64_t id);
  std::optional<int32_t> IdOf(std::string_view token) const;
  /// Returns null for an id without a token.
  const std::string* TokenOf(int64_t id) const;
  /// Returns the number of tokens.
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  /// Returns one more than the largest id.
  int64_t end_id() const { return static_cast<int64_t>(tokens_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  /// Pointers into ids_, whose keys never move.
  std::vector<const std::string*> tokens_;
};

}  // namespace regroup
