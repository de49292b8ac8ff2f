// How tokenizer.json cuts a text into the pieces that the model sees one by one: "pre_tokenizer".
//
// Immutable; any thread may call.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// A part of the text, and whether the text starts with it.
struct TextPiece {
  std::string text;
  bool starts_text = false;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends the pieces of `piece`, which is not empty and valid UTF-8; none of them is empty.
  virtual absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const = 0;
};

/// ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, CharDelimiterSplit, Metaspace, Sequence; null
/// keeps the text whole. UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const PreTokenizer>> ParsePreTokenizer(const nlohmann::json& json);

}  // namespace regroup
