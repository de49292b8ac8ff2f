// The tokens of a template as its parsers read them, one after the other. One thread.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/lexer.h"

namespace regroup::chat {

/// How deeply a template may nest expressions and blocks.
inline constexpr int kMaxNesting = 100;

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& now() const { return tokens_[next_]; }
  const Token& after() const { return tokens_[std::min(next_ + 1, tokens_.size() - 1)]; }
  int64_t line() const { return now().line; }
  bool Is(Token::Kind kind) const { return now().kind == kind; }
  bool IsSign(std::string_view sign) const { return now().IsSign(sign); }
  bool IsName(std::string_view name) const { return now().IsName(name); }

  Token Take() {
    Token token = tokens_[next_];
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
  bool TakeSign(std::string_view sign) { return IsSign(sign) && (Take(), true); }
  bool TakeName(std::string_view name) { return IsName(name) && (Take(), true); }
  void ExpectSign(std::string_view sign) {
    if (!TakeSign(sign)) Fail(fmt::format("'{}'", sign));
  }
  void Expect(Token::Kind kind, std::string_view what) {
    if (!Is(kind)) Fail(what);
    Take();
  }
  std::string ExpectName() {
    if (!Is(Token::Kind::kName)) Fail("a name");
    return Take().text;
  }
  [[noreturn]] void Fail(std::string_view expected) const {
    Malformed(fmt::format("expected {}, found {}", expected,
                          now().text.empty() ? "the end of a tag" : "'" + now().text + "'"),
              line());
  }

  /// Counts one level of nesting while it lives.
  class Level {
   public:
    explicit Level(TokenStream& stream) : stream_(stream) {
      if (++stream_.depth_ > kMaxNesting) Unsupported("more than 100 levels of nesting", stream_.line());
    }
    ~Level() { --stream_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace regroup::chat
