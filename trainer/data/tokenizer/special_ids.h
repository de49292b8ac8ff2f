// Reads the begin-of-sequence and end-of-sequence tokens that a checkpoint folder names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace regroup {

struct SpecialIds {
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
};

/// Looks for "bos_token" and "eos_token" in special_tokens_map.json and tokenizer_config.json, first in the latter if
/// it has "added_tokens_decoder"; if neither has the key, for "bos_token_id" and "eos_token_id" in config.json. A null
/// means that there is none. `id_of` returns the id of a token's text. INVALID_ARGUMENT for an end token that is not in
/// the vocabulary. Any thread.
absl::StatusOr<SpecialIds> ReadSpecialIds(const std::filesystem::path& folder,
                                          const std::function<std::optional<int32_t>(std::string_view)>& id_of);

}  // namespace regroup
