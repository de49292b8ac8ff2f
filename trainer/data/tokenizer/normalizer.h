// Implements "normalizer" of tokenizer.json, which changes a text before it is cut.
//
// Immutable; any thread may call.
#pragma once

#include <memory>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/text_piece.h"

namespace regroup {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// The text is valid UTF-8, and so is the result's.
  virtual absl::StatusOr<TextPiece> Normalize(TextPiece piece) const = 0;
};

/// Parses NFC, NFD, NFKC, NFKD, Precompiled, Nmt, Lowercase, StripAccents, ByteLevel, Prepend, Replace, Strip or
/// Sequence; null changes nothing. UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const Normalizer>> ParseNormalizer(const nlohmann::json& json);

}  // namespace regroup
