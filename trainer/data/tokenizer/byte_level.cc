#include "trainer/data/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

constexpr size_t kAlphabetEnd = 0x100 + 68;

bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<std::string, 256> text_of_byte;
  std::array<int, kAlphabetEnd> byte_of_character;

  Alphabet() {
    byte_of_character.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t character = StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
      AppendCharacter(character, text_of_byte[byte]);
      byte_of_character[character] = byte;
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

std::string ToByteLevel(std::string_view bytes) {
  const Alphabet& alphabet = TheAlphabet();
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) text += alphabet.text_of_byte[static_cast<unsigned char>(byte)];
  return text;
}

std::optional<std::string> FromByteLevel(std::string_view text) {
  const Alphabet& alphabet = TheAlphabet();
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const char32_t character = NextCharacter(text, at);
    const int byte = character < kAlphabetEnd ? alphabet.byte_of_character[character] : -1;
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

}  // namespace regroup
