#include "trainer/data/tokenizer/text_growth.h"

#include <fmt/format.h>

namespace regroup {

absl::Status CheckTextGrowth(size_t bytes_before, size_t bytes_after) {
  constexpr size_t kMaxFactor = 32, kMaxPrefix = 1024;
  if (bytes_after <= bytes_before * kMaxFactor + kMaxPrefix) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the tokenizer would make {} bytes of a text of {} bytes", bytes_after, bytes_before));
}

}  // namespace regroup
