#include "trainer/data/tokenizer/utf8.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace regroup {
namespace {

/// Returns the character at `position` and advances past it; negative for bytes that are not UTF-8.
UChar32 NextOrNegative(std::string_view bytes, size_t& position) {
  UChar32 character;
  U8_NEXT(reinterpret_cast<const uint8_t*>(bytes.data()), position, bytes.size(), character);
  return character;
}

}  // namespace

bool IsValidUtf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    if (static_cast<unsigned char>(bytes[i]) < 0x80) {
      ++i;
    } else if (NextOrNegative(bytes, i) < 0) {
      return false;
    }
  }
  return true;
}

std::string WithReplacementCharacters(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    const UChar32 character = NextOrNegative(bytes, i);
    AppendCharacter(character < 0 ? 0xfffd : static_cast<char32_t>(character), text);
  }
  return text;
}

char32_t NextCharacter(std::string_view text, size_t& position) {
  return static_cast<char32_t>(NextOrNegative(text, position));
}

void AppendCharacter(char32_t character, std::string& text) {
  const auto put = [&text](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (character < 0x80) return put(character);
  if (character < 0x800) {
    put(0xc0 | character >> 6);
  } else {
    if (character < 0x10000) {
      put(0xe0 | character >> 12);
    } else {
      put(0xf0 | character >> 18);
      put(0x80 | (character >> 12 & 0x3f));
    }
    put(0x80 | (character >> 6 & 0x3f));
  }
  put(0x80 | (character & 0x3f));
}

bool IsWhitespace(char32_t character) { return u_isUWhiteSpace(static_cast<UChar32>(character)); }

bool IsNumeric(char32_t character) { return (U_GET_GC_MASK(static_cast<UChar32>(character)) & U_GC_N_MASK) != 0; }

bool IsPunctuation(char32_t character) { return (U_GET_GC_MASK(static_cast<UChar32>(character)) & U_GC_P_MASK) != 0; }

bool IsMark(char32_t character) { return (U_GET_GC_MASK(static_cast<UChar32>(character)) & U_GC_M_MASK) != 0; }

bool IsWordCharacter(char32_t character) {
  const auto c = static_cast<UChar32>(character);
  return u_isUAlphabetic(c) || (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

}  // namespace regroup
