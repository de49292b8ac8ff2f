// Implements "pre_tokenizer" of tokenizer.json, which cuts a text into the pieces that the model encodes one by one.
//
// Immutable; any thread may call.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/text_piece.h"

namespace regroup {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends the pieces of `piece`, which is valid UTF-8 and not empty; none of the pieces is empty.
  virtual absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const = 0;
};

/// Parses ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, CharDelimiterSplit, Metaspace or
/// Sequence; null keeps the text whole. UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const PreTokenizer>> ParsePreTokenizer(const nlohmann::json& json);

}  // namespace regroup
