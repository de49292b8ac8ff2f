#include "trainer/data/tokenizer/vocabulary.h"

#include <fmt/format.h>

namespace regroup {

absl::Status Vocabulary::Add(std::string_view token, int64_t id) {
  constexpr int64_t kMaxId = 10'000'000;
  if (id < 0 || id > kMaxId) return absl::InvalidArgumentError(fmt::format("token \"{}\" has bad id {}", token, id));
  const auto [entry, added] = ids_.emplace(token, static_cast<int32_t>(id));
  if (!added) {
    if (entry->second == id) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("token \"{}\" has two ids, {} and {}", token, entry->second, id));
  }
  if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
  if (tokens_[id] != nullptr) {
    return absl::InvalidArgumentError(fmt::format("tokens \"{}\" and \"{}\" share the id {}", *tokens_[id], token, id));
  }
  tokens_[id] = &entry->first;
  return absl::OkStatus();
}

std::optional<int32_t> Vocabulary::IdOf(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::TokenOf(int64_t id) const {
  return id >= 0 && id < end_id() ? tokens_[static_cast<size_t>(id)] : nullptr;
}

}  // namespace regroup
