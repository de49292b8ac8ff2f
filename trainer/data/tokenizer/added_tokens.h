// Finds tokens such as "<s>" and "<|im_start|>" in the text before any other processing.
//
// Filled by one thread, then read by any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/data/tokenizer/regex.h"

namespace regroup {

struct AddedToken {
  /// The token takes the next free id.
  static constexpr int32_t kAnyId = -2;

  std::string content;
  int32_t id = kAnyId;
  /// The token matches only if no word character touches it.
  bool single_word = false;
  /// The token also takes the white space before it, or after it.
  bool left_strip = false;
  bool right_strip = false;
  /// The token is searched for in the normalised text instead of the original text.
  bool normalized = false;
  bool special = false;
};

/// A part of a text: an added token's id, or the bytes of ordinary text.
struct AddedTokenSplit {
  std::optional<int32_t> id;
  ByteRange range;
};

/// Finds tokens in a text: the leftmost match, and the longest of those that start at the same byte.
class AddedTokenFinder {
 public:
  AddedTokenFinder();
  /// Adds a token. A later token with the same content is ignored.
  void Add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  /// Returns the parts of the text in order; ordinary parts are not empty. `text` is valid UTF-8.
  std::vector<AddedTokenSplit> Split(std::string_view text) const;

 private:
  /// A state of the trie: the token that ends here (or -1), and the next states by byte.
  struct State {
    int32_t token = -1;
    std::vector<std::pair<char, int32_t>> next;
  };
  int32_t NextState(int32_t state, char byte) const;
  /// Returns the index of the longest token that `text` contains at `begin`, or -1.
  int32_t LongestAt(std::string_view text, size_t begin) const;

  std::vector<AddedToken> tokens_;
  std::vector<State> trie_;
};

}  // namespace regroup
