// What tokenizer.json does to a text before it is cut: "normalizer".
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

/// NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Sequence; null changes nothing. UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const Normalizer>> ParseNormalizer(const nlohmann::json& json);

}  // namespace regroup
