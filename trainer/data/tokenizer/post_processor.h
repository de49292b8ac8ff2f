// Implements "post_processor" of tokenizer.json, which adds ids before and after those of a text.
//
// Immutable; any thread may call.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"

namespace regroup {

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual std::vector<int32_t> Process(std::vector<int32_t> ids) const = 0;
};

/// Parses TemplateProcessing (its template for a single text), BertProcessing, RobertaProcessing, ByteLevel (which
/// moves offsets only) or Sequence; null adds nothing. UNIMPLEMENTED names any other.
absl::StatusOr<std::shared_ptr<const PostProcessor>> ParsePostProcessor(const nlohmann::json& json);

}  // namespace regroup
