// Finds what a misspelt word was meant to be. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace regroup {

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`; letter case counts for nothing.
int EditDistance(std::string_view a, std::string_view b);

/// The candidate with the smallest edit distance, if at least half of the letters agree.
std::optional<std::string_view> NearestWord(std::string_view word, std::span<const std::string_view> candidates);

/// "a, b or c".
std::string ListWords(std::span<const std::string_view> words);

}  // namespace regroup
