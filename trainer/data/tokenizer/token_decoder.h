// How tokenizer.json turns tokens back into text: "decoder".
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
  /// Texts that, joined, are the text.
  virtual absl::StatusOr<std::vector<std::string>> Decode(std::vector<std::string> tokens) const = 0;
};

/// ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, Sequence; null joins the tokens with spaces.
/// UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const TokenDecoder>> ParseTokenDecoder(const nlohmann::json& json);

}  // namespace regroup
