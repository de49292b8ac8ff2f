#include "trainer/data/tokenizer/precompiled_charsmap.h"

#include <algorithm>
#include <cstring>

#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

// The bits of a unit: the distance to the block of its children (10 to 31, counted in 256 where bit 9 is set), a flag
// that a text ends here (8), and the byte that leads here (0 to 7). A leaf has bit 31 and a value instead.
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t Label(uint32_t unit) { return unit & (1U << 31 | 0xff); }
uint32_t Value(uint32_t unit) { return unit & ((1U << 31) - 1); }

}  // namespace

absl::StatusOr<PrecompiledCharsmap> PrecompiledCharsmap::Parse(std::string_view bytes) {
  uint32_t size = 0;
  if (bytes.size() >= sizeof size) std::memcpy(&size, bytes.data(), sizeof size);
  bytes.remove_prefix(std::min(bytes.size(), sizeof size));
  if (size == 0 || size % sizeof(uint32_t) != 0 || size > bytes.size()) {
    return absl::InvalidArgumentError("precompiled_charsmap is truncated");
  }
  PrecompiledCharsmap map;
  map.trie_.resize(size / sizeof(uint32_t));
  std::memcpy(map.trie_.data(), bytes.data(), size);
  map.replacements_ = bytes.substr(size);
  if (!IsValidUtf8(map.replacements_)) return absl::InvalidArgumentError("precompiled_charsmap is not UTF-8");
  return map;
}

std::optional<std::string_view> PrecompiledCharsmap::Find(std::string_view text) const {
  uint32_t place = Offset(trie_[0]);
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    place ^= byte;
    if (byte == 0 || place >= trie_.size() || Label(trie_[place]) != byte) return std::nullopt;
    const uint32_t unit = trie_[place];
    place ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    if (place >= trie_.size() || Value(trie_[place]) >= replacements_.size()) return std::nullopt;
    const std::string_view found = std::string_view(replacements_).substr(Value(trie_[place]));
    // A damaged map may point into the middle of a character.
    if ((static_cast<unsigned char>(found[0]) & 0xc0) == 0x80) return std::nullopt;
    return found.substr(0, found.find('\0'));
  }
  return std::nullopt;
}

}  // namespace regroup
