// Tokens that a checkpoint folder adds to its tokenizer in other files than tokenizer.json or tokenizer.model:
// "added_tokens_decoder", "bos_token", "extra_special_tokens" and the like in tokenizer_config.json,
// special_tokens_map.json and added_tokens.json. The rules, and their order, are those of AutoTokenizer in
// Transformers 5. Any thread.
#pragma once

#include <filesystem>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/added_tokens.h"

namespace regroup {

/// Reads a token that a file writes as an object with "content". Its id is kAnyId. INVALID_ARGUMENT if it has no
/// content.
absl::StatusOr<AddedToken> ParseAddedToken(const nlohmann::json& json);

struct ConfiguredTokens {
  /// Tokens with flags of their own, by their ids: "added_tokens_decoder" or added_tokens.json. The tokenizer takes the
  /// flags even if it has the token already.
  std::vector<AddedToken> table;
  /// The file of the table.
  std::filesystem::path table_file;
  /// Special tokens without ids, in the order in which they are added. They change nothing if the tokenizer knows them
  /// as added tokens.
  std::vector<AddedToken> specials;
};

/// Reads the tokens of a folder. `listed` is "added_tokens" of its tokenizer.json, or null. INVALID_ARGUMENT names the
/// file that is malformed, UNIMPLEMENTED the key that is not supported.
absl::StatusOr<ConfiguredTokens> ReadConfiguredTokens(const std::filesystem::path& folder,
                                                      const nlohmann::json& listed);

}  // namespace regroup
