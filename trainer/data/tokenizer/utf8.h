// Reads UTF-8 text character by character. Pure functions, for any thread. Text must be valid unless stated otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace regroup {

bool IsValidUtf8(std::string_view bytes);

/// Accepts any bytes and replaces those that are not UTF-8 with U+FFFD.
std::string WithReplacementCharacters(std::string_view bytes);

/// Returns the character at `position` and advances `position` past it.
char32_t NextCharacter(std::string_view text, size_t& position);

/// Returns the number of bytes of the character that starts with `lead`.
inline size_t CharacterBytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

void AppendCharacter(char32_t character, std::string& text);

/// Tests Unicode's White_Space property.
bool IsWhitespace(char32_t character);
/// Tests general category N: decimal digits, letter numbers and other numbers.
bool IsNumeric(char32_t character);
/// Tests general category P.
bool IsPunctuation(char32_t character);
/// Tests general category M: marks that combine with the character before them.
bool IsMark(char32_t character);
/// Tests for \w as added tokens define a word: letters, marks, digits, connectors and joiners.
bool IsWordCharacter(char32_t character);

}  // namespace regroup
