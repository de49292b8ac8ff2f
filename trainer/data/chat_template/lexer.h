// Cuts a chat template into tokens, with the rules on whitespace that Transformers sets in Jinja: trim_blocks and
// lstrip_blocks. Pure functions, for any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace regroup::chat {

struct Token {
  enum class Kind { kText, kPrintBegin, kPrintEnd, kTagBegin, kTagEnd, kName, kString, kInteger, kFloat, kSign, kEnd };
  Kind kind = Kind::kEnd;
  /// The text between tags, a name, the content of a string, the digits of a number, or a sign such as "==".
  std::string text;
  int64_t line = 0;

  bool IsSign(std::string_view sign) const { return kind == Kind::kSign && text == sign; }
  bool IsName(std::string_view name) const { return kind == Kind::kName && text == name; }
};

/// Returns the tokens, of which the last is a kEnd. Throws Failure. `source` must be UTF-8.
std::vector<Token> CutIntoTokens(std::string_view source);

}  // namespace regroup::chat
