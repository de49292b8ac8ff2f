// Cuts a text at matches, in the five ways of tokenizer.json. Pure functions, for any thread.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/regex.h"

namespace regroup {

/// Says what happens to a match: it is dropped, becomes a piece of its own, or is joined to the text before it, to the
/// text after it, or to neighbouring matches.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Parses "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext" or "Contiguous". INVALID_ARGUMENT otherwise.
absl::StatusOr<SplitBehavior> ParseSplitBehavior(std::string_view name);

/// Cuts `bytes` bytes of text at the matches (in order, without overlap, possibly empty). With `invert` the text
/// between the matches is treated as the matches. Pieces are in order and never empty.
std::vector<ByteRange> SplitAtMatches(size_t bytes, const std::vector<ByteRange>& matches, SplitBehavior behavior,
                                      bool invert);

/// Returns every single character for which `test` holds.
std::vector<ByteRange> FindCharacters(std::string_view text, const std::function<bool(char32_t)>& test);

}  // namespace regroup
