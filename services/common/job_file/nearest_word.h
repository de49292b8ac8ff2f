// Finds the intended word for a misspelt one. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace regroup {

/// Returns the number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`, ignoring
/// case.
int EditDistance(std::string_view a, std::string_view b);

/// Returns the candidate with the smallest edit distance, if at least half of the letters agree.
std::optional<std::string_view> NearestWord(std::string_view word, std::span<const std::string_view> candidates);

/// Returns "a, b or c".
std::string ListWords(std::span<const std::string_view> words);

}  // namespace regroup
