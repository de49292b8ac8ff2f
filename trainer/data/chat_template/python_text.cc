#include "trainer/data/chat_template/python_text.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>

#include <algorithm>
#include <cstring>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup::chat {
namespace {

template <typename IsRemoved>
std::string_view WithoutLeft(std::string_view text, IsRemoved is_removed) {
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    if (!is_removed(NextCharacter(text, position))) return text.substr(start);
  }
  return {};
}

template <typename IsRemoved>
std::string_view WithoutRight(std::string_view text, IsRemoved is_removed) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    size_t position = start;
    if (!is_removed(NextCharacter(text, position))) return text;
    text = text.substr(0, start);
  }
  return text;
}

auto OneOf(std::string_view characters) {
  std::vector<char32_t> set;
  for (size_t position = 0; position < characters.size();) set.push_back(NextCharacter(characters, position));
  return [set](char32_t character) { return std::find(set.begin(), set.end(), character) != set.end(); };
}

template <typename Map>
std::string Mapped(std::string_view text, Map map) {
  std::string result;
  icu::StringByteSink<std::string> sink(&result);
  UErrorCode error = U_ZERO_ERROR;
  map("", 0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, error);
  if (U_FAILURE(error)) Unsupported("changing the case of a text");
  return result;
}

}  // namespace

bool IsSpace(char32_t character) {
  if (character < 0x80) return (character >= 0x09 && character <= 0x0d) || (character >= 0x1c && character <= 0x20);
  return character == 0x85 || character == 0xa0 || character == 0x1680 ||
         (character >= 0x2000 && character <= 0x200a) || character == 0x2028 || character == 0x2029 ||
         character == 0x202f || character == 0x205f || character == 0x3000;
}

std::string_view StripLeft(std::string_view text) { return WithoutLeft(text, IsSpace); }
std::string_view StripRight(std::string_view text) { return WithoutRight(text, IsSpace); }
std::string_view StripLeft(std::string_view text, std::string_view characters) {
  return WithoutLeft(text, OneOf(characters));
}
std::string_view StripRight(std::string_view text, std::string_view characters) {
  return WithoutRight(text, OneOf(characters));
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char letter) { return static_cast<unsigned char>(letter) < 0x80; });
}

size_t CountCharacters(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char letter) { return (static_cast<unsigned char>(letter) & 0xc0) != 0x80; }));
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> characters;
  characters.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const size_t bytes = CharacterBytes(text[position]);
    characters.push_back(text.substr(position, bytes));
    position += bytes;
  }
  return characters;
}

size_t Find(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  if (part.size() > text.size() - from) return std::string_view::npos;
  const void* const found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

std::string ToUpper(std::string_view text) {
  return Mapped(text, [](const char* locale, uint32_t options, icu::StringPiece from, icu::ByteSink& to,
                         UErrorCode& error) { icu::CaseMap::utf8ToUpper(locale, options, from, to, nullptr, error); });
}

std::string ToLower(std::string_view text) {
  return Mapped(text, [](const char* locale, uint32_t options, icu::StringPiece from, icu::ByteSink& to,
                         UErrorCode& error) { icu::CaseMap::utf8ToLower(locale, options, from, to, nullptr, error); });
}

}  // namespace regroup::chat
