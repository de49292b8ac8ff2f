#include "trainer/data/chat_template/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/python_text.h"
#include "trainer/data/chat_template/string_literal.h"

namespace regroup::chat {
namespace {

bool IsDigit(char letter) { return letter >= '0' && letter <= '9'; }
bool IsNameStart(char letter) { return absl::ascii_isalpha(static_cast<unsigned char>(letter)) || letter == '_'; }
bool IsNamePart(char letter) { return IsNameStart(letter) || IsDigit(letter); }

/// Returns the text with "\n" for every end of a line, and without the last one.
std::string WithPlainLines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(WithPlainLines(source)), text_(source_) {}

  std::vector<Token> Run() {
    while (position_ < text_.size()) ReadText();
    Add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void Add(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  bool StartsWith(std::string_view part) const { return text_.substr(position_).starts_with(part); }

  /// Moves on, and counts the lines.
  std::string_view Take(size_t count) {
    const std::string_view taken = text_.substr(position_, count);
    line_ += std::count(taken.begin(), taken.end(), '\n');
    position_ += taken.size();
    if (!taken.empty()) at_line_start_ = taken.back() == '\n';
    return taken;
  }
  void TakeSpaces() {
    const std::string_view rest = text_.substr(position_);
    Take(rest.size() - StripLeft(rest).size());
  }
  char TakeMark() {
    if (position_ >= text_.size() || (text_[position_] != '-' && text_[position_] != '+')) return 0;
    return Take(1)[0];
  }

  /// Adds the text before a tag that begins at `end`. `mark` is the sign after the tag's bracket, and `is_block` says
  /// that blanks from the start of the line to the tag are not part of the text.
  void AddText(std::string_view before, bool starts_line, char mark, bool is_block) {
    std::string_view kept = before;
    if (mark == '-') {
      kept = StripRight(before);
    } else if (mark != '+' && is_block) {
      const size_t line_end = before.rfind('\n');
      const size_t begin = line_end == std::string_view::npos ? 0 : line_end + 1;
      if ((begin > 0 || starts_line) && StripLeft(before.substr(begin)).empty()) kept = before.substr(0, begin);
    }
    if (!kept.empty()) tokens_.push_back({Token::Kind::kText, std::string(kept), line_});
  }

  /// Reads up to the next tag, and the tag.
  void ReadText() {
    const bool starts_line = at_line_start_;
    const size_t begin = position_;
    size_t end = begin;
    while (true) {
      end = text_.find('{', end);
      if (end == std::string_view::npos || end + 1 >= text_.size()) {
        Add(Token::Kind::kText, std::string(text_.substr(begin)));
        Take(text_.size() - begin);
        return;
      }
      const char next = text_[end + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++end;
    }
    const std::string_view before = Take(end - begin);
    const char kind = Take(2)[1];
    const char mark = TakeMark();
    AddText(before, starts_line, mark, kind != '{');
    if (kind == '#') return SkipComment();
    if (kind == '%' && IsRaw()) return ReadRaw();
    Add(kind == '%' ? Token::Kind::kTagBegin : Token::Kind::kPrintBegin, "");
    ReadTag(kind == '%');
  }

  /// Takes the end of a tag, with the blanks that it removes, if there is one here.
  bool TakeEnd(std::string_view bracket, bool is_block) {
    if (StartsWith(bracket)) {
      Take(bracket.size());
      if (is_block && StartsWith("\n")) Take(1);
      return true;
    }
    if (!text_.substr(std::min(position_ + 1, text_.size())).starts_with(bracket)) return false;
    if (StartsWith("-")) {
      Take(bracket.size() + 1);
      TakeSpaces();
      return true;
    }
    if (!is_block || !StartsWith("+")) return false;
    Take(bracket.size() + 1);
    return true;
  }

  void SkipComment() {
    const int64_t line = line_;
    const size_t end = text_.find("#}", position_);
    if (end == std::string_view::npos) Malformed("a comment does not end", line);
    const bool has_mark = end > position_ && (text_[end - 1] == '-' || text_[end - 1] == '+');
    Take(end - position_ - (has_mark ? 1 : 0));
    TakeEnd("#}", true);
  }

  /// Tells whether a tag's content is the word "raw"; takes it and the end of the tag if so.
  bool IsRaw() {
    std::string_view rest = StripLeft(text_.substr(position_));
    if (!rest.starts_with("raw")) return false;
    rest = StripLeft(rest.substr(3));
    const bool strips = rest.starts_with("-%}");
    if (!strips && !rest.starts_with("%}")) return false;
    Take(static_cast<size_t>(rest.data() - text_.data()) - position_ + (strips ? 3 : 2));
    if (strips) TakeSpaces();
    return true;
  }

  void ReadRaw() {
    const int64_t line = line_;
    const bool starts_line = at_line_start_;
    for (size_t begin = text_.find("{%", position_); begin != std::string_view::npos;
         begin = text_.find("{%", begin + 1)) {
      std::string_view rest = text_.substr(begin + 2);
      const char mark = rest.starts_with('-') || rest.starts_with('+') ? rest.front() : '\0';
      rest = StripLeft(rest.substr(mark == 0 ? 0 : 1));
      if (!rest.starts_with("endraw")) continue;
      rest = StripLeft(rest.substr(6));
      if (!rest.starts_with("%}") && !rest.starts_with("-%}") && !rest.starts_with("+%}")) continue;
      const std::string_view content = Take(begin - position_);
      AddText(content, starts_line, mark, true);
      Take(static_cast<size_t>(rest.data() - text_.data()) - position_);
      TakeEnd("%}", true);
      return;
    }
    Malformed("a raw block does not end", line);
  }

  void ReadTag(bool is_block) {
    const int64_t line = line_;
    while (position_ < text_.size()) {
      if (open_.empty() && TakeEnd(is_block ? "%}" : "}}", is_block)) {
        Add(is_block ? Token::Kind::kTagEnd : Token::Kind::kPrintEnd, "");
        return;
      }
      const size_t before = position_;
      TakeSpaces();
      if (position_ == before) ReadToken();
    }
    Malformed("a tag does not end", line);
  }

  void ReadToken() {
    const char first = text_[position_];
    if (IsDigit(first)) return ReadNumber();
    if (IsNameStart(first)) {
      size_t end = position_;
      while (end < text_.size() && IsNamePart(text_[end])) ++end;
      if (end < text_.size() && static_cast<unsigned char>(text_[end]) >= 0x80)
        Unsupported("a name of other letters", line_);
      return Add(Token::Kind::kName, std::string(Take(end - position_)));
    }
    if (first == '\'' || first == '"') return ReadString(first);
    ReadSign();
  }

  void ReadNumber() {
    const bool after_dot = position_ > 0 && text_[position_ - 1] == '.';
    size_t end = position_;
    const auto take_digits = [&] {
      while (end < text_.size() && IsDigit(text_[end])) ++end;
    };
    take_digits();
    bool is_float = false;
    if (!after_dot && end + 1 < text_.size() && text_[end] == '.' && IsDigit(text_[end + 1])) {
      is_float = true;
      ++end;
      take_digits();
    }
    const std::string digits(text_.substr(position_, end - position_));
    const bool odd_start = !is_float && digits.size() > 1 && digits[0] == '0';
    if (odd_start || (end < text_.size() && IsNamePart(text_[end]))) Unsupported("a number in this notation", line_);
    Take(digits.size());
    Add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, digits);
  }

  void ReadString(char quote) {
    const int64_t line = line_;
    size_t end = position_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) Malformed("a string does not end", line);
    const std::string_view written = Take(end + 1 - position_);
    tokens_.push_back({Token::Kind::kString, Unescaped(written.substr(1, written.size() - 2), line), line});
  }

  void ReadSign() {
    for (const std::string_view sign : {"**", "//", "==", "!=", "<=", ">="}) {
      if (StartsWith(sign)) return Add(Token::Kind::kSign, std::string(Take(2)));
    }
    const char sign = text_[position_];
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(sign) == std::string_view::npos) {
      const auto code = static_cast<unsigned char>(sign);
      Malformed(code < 0x80 ? fmt::format("the sign '{}' in a tag", sign) : "a letter in a tag", line_);
    }
    if (sign == '(' || sign == '[' || sign == '{') open_ += sign == '(' ? ')' : sign == '[' ? ']' : '}';
    if (sign == ')' || sign == ']' || sign == '}') {
      if (open_.empty() || open_.back() != sign) Malformed(fmt::format("an unexpected '{}'", sign), line_);
      open_.pop_back();
    }
    Add(Token::Kind::kSign, std::string(Take(1)));
  }

  const std::string source_;
  const std::string_view text_;
  size_t position_ = 0;
  int64_t line_ = 1;
  /// True if what was taken last ends a line, and at the start.
  bool at_line_start_ = true;
  /// The brackets that must close the open ones.
  std::string open_;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> CutIntoTokens(std::string_view source) { return Lexer(source).Run(); }

}  // namespace regroup::chat
