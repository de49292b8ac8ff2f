// UTF-8 text, character by character. Pure functions, for any thread. Text must be valid unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace regroup {

bool IsValidUtf8(std::string_view bytes);

/// Any bytes; what is not UTF-8 becomes U+FFFD.
std::string WithReplacementCharacters(std::string_view bytes);

/// The character at `position`, which is moved behind it.
char32_t NextCharacter(std::string_view text, size_t& position);

/// Bytes of the character that starts with `lead`.
inline size_t CharacterBytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

void AppendCharacter(char32_t character, std::string& text);

/// Unicode's White_Space property.
bool IsWhitespace(char32_t character);
/// General category N: decimal digits, letter numbers and other numbers.
bool IsNumeric(char32_t character);
/// General category P.
bool IsPunctuation(char32_t character);
/// What \w means to the word tests of added tokens: letters, marks, digits, connectors and joiners.
bool IsWordCharacter(char32_t character);

}  // namespace regroup
