// Text as Python's str handles it: whitespace, and positions by characters. Pure functions, for any thread. All text is
// UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace regroup::chat {

/// Python's isspace() of one character, which has a few control characters more than Unicode's White_Space.
bool IsSpace(char32_t character);

std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
/// Remove the given characters only.
std::string_view StripLeft(std::string_view text, std::string_view characters);
std::string_view StripRight(std::string_view text, std::string_view characters);

bool IsAscii(std::string_view text);
/// Returns the number of characters.
size_t CountCharacters(std::string_view text);
/// Returns the characters one by one.
std::vector<std::string_view> Characters(std::string_view text);
/// Returns the position of `part` at or after `from`, in time linear in the text; npos if there is none.
size_t Find(std::string_view text, std::string_view part, size_t from = 0);

std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);

}  // namespace regroup::chat
