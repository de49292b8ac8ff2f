#include "trainer/data/tokenizer/added_tokens.h"

#include <algorithm>

#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

size_t CharacterStartBefore(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80);
  return end;
}

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t at = CharacterStartBefore(text, text.size());
  return IsWordCharacter(NextCharacter(text, at));
}

bool StartsWithWord(std::string_view text) {
  size_t at = 0;
  return !text.empty() && IsWordCharacter(NextCharacter(text, at));
}

size_t BeforeTrailingSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t start = CharacterStartBefore(text, end);
    size_t at = start;
    if (!IsWhitespace(NextCharacter(text, at))) break;
    end = start;
  }
  return end;
}

size_t LeadingSpace(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!IsWhitespace(NextCharacter(text, next))) break;
    at = next;
  }
  return at;
}

bool StandsAlone(std::string_view text, ByteRange match) {
  return !EndsWithWord(text.substr(0, match.begin)) && !StartsWithWord(text.substr(match.end));
}

}  // namespace

AddedTokenFinder::AddedTokenFinder() : trie_(1) {}

int32_t AddedTokenFinder::NextState(int32_t state, char byte) const {
  for (const auto& [label, next] : trie_[state].next) {
    if (label == byte) return next;
  }
  return -1;
}

void AddedTokenFinder::Add(AddedToken token) {
  if (token.content.empty()) return;
  int32_t state = 0;
  for (const char byte : token.content) {
    int32_t next = NextState(state, byte);
    if (next < 0) {
      next = static_cast<int32_t>(trie_.size());
      trie_[state].next.emplace_back(byte, next);
      trie_.emplace_back();
    }
    state = next;
  }
  if (trie_[state].token >= 0) return;
  trie_[state].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

int32_t AddedTokenFinder::LongestAt(std::string_view text, size_t begin) const {
  int32_t longest = -1;
  int32_t state = 0;
  for (size_t at = begin; at < text.size(); ++at) {
    state = NextState(state, text[at]);
    if (state < 0) break;
    if (trie_[state].token >= 0) longest = trie_[state].token;
  }
  return longest;
}

std::vector<AddedTokenSplit> AddedTokenFinder::Split(std::string_view text) const {
  std::vector<AddedTokenSplit> splits;
  size_t done = 0;  // Everything before it is in a split.
  for (size_t at = 0; at < text.size();) {
    const int32_t found = LongestAt(text, at);
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[found];
    ByteRange match{at, at + token.content.size()};
    at = match.end;
    if (token.single_word && !StandsAlone(text, match)) continue;
    if (token.left_strip) match.begin = BeforeTrailingSpace(text.substr(0, match.begin));
    if (token.right_strip) match.end += LeadingSpace(text.substr(match.end));
    match.begin = std::max(match.begin, done);
    if (match.begin > done) splits.push_back({std::nullopt, {done, match.begin}});
    splits.push_back({token.id, match});
    done = match.end;
  }
  if (done < text.size()) splits.push_back({std::nullopt, {done, text.size()}});
  return splits;
}

}  // namespace regroup
