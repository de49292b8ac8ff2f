#include "trainer/data/chat_template/string_literal.h"

#include <charconv>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup::chat {
namespace {

class Escapes {
 public:
  Escapes(std::string_view written, int64_t line) : written_(written), line_(line) {}

  std::string Run() {
    while (position_ < written_.size()) {
      const char letter = written_[position_++];
      if (letter == '\\' && position_ < written_.size()) {
        Escape(written_[position_++]);
      } else {
        text_ += letter;
      }
    }
    return std::move(text_);
  }

 private:
  void Escape(char letter) {
    constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const size_t known = kLetters.find(letter);
    if (known != std::string_view::npos) {
      text_ += kMeanings[known];
    } else if (letter >= '0' && letter <= '7') {
      --position_;
      size_t count = 1;
      while (count < 3 && position_ + count < written_.size() && written_[position_ + count] >= '0' &&
             written_[position_ + count] <= '7') {
        ++count;
      }
      Character(count, 8);
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      Character(letter == 'x' ? 2 : letter == 'u' ? 4 : 8, 16);
    } else if (letter == 'N' || static_cast<unsigned char>(letter) >= 0x80) {
      Unsupported("this escape in a string", line_);
    } else if (letter != '\n') {
      text_ += '\\';
      text_ += letter;
    }
  }

  /// Appends the character whose code is written with `count` digits.
  void Character(size_t count, int base) {
    const std::string_view digits = written_.substr(position_, count);
    uint32_t code = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
    if (digits.size() < count || error != std::errc() || end != digits.data() + count || code > 0x10ffff) {
      Malformed("an escape without its digits in a string", line_);
    }
    if (code >= 0xd800 && code < 0xe000) Unsupported("half of a surrogate pair in a string", line_);
    position_ += count;
    AppendCharacter(code, text_);
  }

  std::string_view written_;
  int64_t line_;
  size_t position_ = 0;
  std::string text_;
};

}  // namespace

std::string Unescaped(std::string_view written, int64_t line) { return Escapes(written, line).Run(); }

}  // namespace regroup::chat
