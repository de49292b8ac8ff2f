// Implements "normalizer" of tokenizer.json, which changes a text before it is cut.
//
// Immutable; any thread may call.
#pragma once

#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

namespace regroup {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is valid UTF-8, and so is the result.
  virtual absl::StatusOr<std::string> Normalize(std::string text) const = 0;
};

/// Parses NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip or Sequence; null changes nothing. UNIMPLEMENTED names any
/// other.
absl::StatusOr<std::shared_ptr<const Normalizer>> ParseNormalizer(const nlohmann::json& json);

}  // namespace regroup
