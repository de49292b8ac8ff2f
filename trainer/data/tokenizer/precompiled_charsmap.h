// The character map of a sentencepiece model: which short texts a normaliser replaces by which, as the "Precompiled"
// normalizer of tokenizer.json holds it.
//
//   the size of the trie in bytes, 4 bytes
//   the trie, a double array of units of 4 bytes (Yata et al., 2007, in the form of the darts-clone library)
//   the replacements, each ended by a zero byte
//
// Little-endian. Immutable; any thread may call.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

class PrecompiledCharsmap {
 public:
  /// Parses the map. INVALID_ARGUMENT for one that is too short or whose replacements are not UTF-8.
  static absl::StatusOr<PrecompiledCharsmap> Parse(std::string_view bytes);

  /// Returns the replacement of the shortest text of the map that `text` begins with; nothing if there is none.
  std::optional<std::string_view> Find(std::string_view text) const;

 private:
  PrecompiledCharsmap() = default;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace regroup
