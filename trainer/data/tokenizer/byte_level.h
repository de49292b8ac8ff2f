// Converts to and from the alphabet of byte-level BPE, which writes each of the 256 bytes as one printable character.
//
// Bytes that are printable in Latin-1 stand for themselves; the other 68 become U+0100, U+0101, ... in order. Pure
// functions, for any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace regroup {

/// Returns each byte as its character, in UTF-8.
std::string ToByteLevel(std::string_view bytes);

/// Returns the bytes that the characters stand for, or nullopt if a character is not in the alphabet. `text` is valid
/// UTF-8.
std::optional<std::string> FromByteLevel(std::string_view text);

}  // namespace regroup
