#include "services/common/base/printable_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <optional>

namespace regroup {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

/// Characters beyond ASCII that steer, reorder or hide text: Unicode's categories Cc, Cf, Zl and Zp, the fillers that
/// are drawn as nothing, and the supplementary variation selectors. In order.
constexpr std::array<Range, 27> kHidden = {
    {{0x80, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},     {0x600, 0x605},     {0x61c, 0x61c},
     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},     {0x8e2, 0x8e2},     {0x115f, 0x1160},
     {0x17b4, 0x17b5},   {0x180b, 0x180f},   {0x200b, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},
     {0x3164, 0x3164},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},   {0x110bd, 0x110bd},
     {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe007f},
     {0xe0080, 0xe00ff}, {0xe0100, 0xe0fff}}};

bool IsHidden(char32_t character) {
  if (character < 0x80) return character < 0x20 || character == 0x7f;
  return std::any_of(kHidden.begin(), kHidden.end(),
                     [character](const Range& range) { return range.first <= character && character <= range.last; });
}

struct Character {
  char32_t code = 0;
  size_t bytes = 1;
};

/// Returns the first character of the text; none if it does not start with well-formed UTF-8.
std::optional<Character> FirstOf(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return Character{byte(0), 1};
  const size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return std::nullopt;
  char32_t code = byte(0) & (0x7fU >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return std::nullopt;
    code = code << 6U | (byte(i) & 0x3fU);
  }
  constexpr std::array<char32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < smallest[bytes] || code > 0x10ffff || is_surrogate) return std::nullopt;
  return Character{code, bytes};
}

/// Copies the text; what is hidden goes through `escape`, a byte that is not UTF-8 through `escape_byte`.
std::string Escaped(std::string_view text, const std::function<void(char32_t, std::string*)>& escape,
                    const std::function<void(unsigned char, std::string*)>& escape_byte) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    const std::optional<Character> character = FirstOf(text);
    if (!character) {
      escape_byte(static_cast<unsigned char>(text.front()), &shown);
    } else if (IsHidden(character->code)) {
      escape(character->code, &shown);
    } else {
      shown += text.substr(0, character->bytes);
    }
    text.remove_prefix(character ? character->bytes : 1);
  }
  return shown;
}

void AppendJsonEscape(char32_t code, std::string* text) {
  if (code < 0x10000) {
    *text += fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
    return;
  }
  const uint32_t offset = static_cast<uint32_t>(code) - 0x10000;
  *text += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (offset >> 10U), 0xdc00 + (offset & 0x3ffU));
}

}  // namespace

std::string PrintableText(std::string_view text, std::string_view line_end) {
  return Escaped(
      text,
      [line_end](char32_t code, std::string* shown) {
        if (code == '\t') {
          *shown += '\t';
        } else if (code == '\n') {
          *shown += line_end;
        } else if (code < 0x80) {
          *shown += fmt::format("\\x{:02x}", static_cast<uint32_t>(code));
        } else {
          *shown += fmt::format("\\u{{{:x}}}", static_cast<uint32_t>(code));
        }
      },
      [](unsigned char byte, std::string* shown) { *shown += fmt::format("\\x{:02x}", byte); });
}

std::string PrintableJson(std::string_view json) {
  return Escaped(
      json,
      [](char32_t code, std::string* shown) {
        // Within strings JSON's writers escape these themselves; outside, they separate.
        if (code < 0x20) {
          *shown += static_cast<char>(code);
        } else {
          AppendJsonEscape(code, shown);
        }
      },
      [](unsigned char, std::string* shown) { AppendJsonEscape(0xfffd, shown); });
}

}  // namespace regroup
