// Implements "decoder" of tokenizer.json, which converts tokens back to text.
//
// Immutable; any thread may call.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

namespace regroup {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  /// Returns strings whose concatenation is the text.
  virtual absl::StatusOr<std::vector<std::string>> Decode(std::vector<std::string> tokens) const = 0;
};

/// Parses ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace or Sequence; null joins the tokens with spaces.
/// UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const TokenDecoder>> ParseTokenDecoder(const nlohmann::json& json);

}  // namespace regroup
