// Interface of "model" in tokenizer.json, which turns a piece of text into ids. Immutable for callers; any thread may
// call.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/vocabulary.h"

namespace regroup {

class PieceModel {
 public:
  virtual ~PieceModel() = default;

  /// Appends the ids of a piece, which is valid UTF-8. INVALID_ARGUMENT for a character that the model cannot express.
  virtual absl::Status Encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

/// Parses a model of type BPE or Unigram. UNIMPLEMENTED names any other type and says what to do; INVALID_ARGUMENT says
/// what is malformed.
absl::StatusOr<std::unique_ptr<PieceModel>> ParsePieceModel(const nlohmann::json& json);

/// Returns the ids of the tokens "<0x00>" to "<0xFF>" that stand for single bytes; -1 for one that is not in the
/// vocabulary.
std::vector<int32_t> ByteTokensOf(const Vocabulary& vocabulary);

/// Appends the tokens of the bytes of `text`. Returns false, and appends nothing, if one of them has no token or
/// `byte_tokens` is empty.
bool AppendByteTokens(std::string_view text, const std::vector<int32_t>& byte_tokens, std::vector<int32_t>& ids);

}  // namespace regroup
