#include "trainer/data/tokenizer/regex_syntax.h"

#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <cctype>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

// Unicode's White_Space and its complement; PCRE2's \s would add U+180E.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x84\x86-\x9f\xa1-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// Oniguruma counts the superscripts and fractions of Latin-1 among its word characters.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xb2\xb3\xb9\xbc-\xbe)";
constexpr std::string_view kHex = "0-9a-fA-F";

bool IsScript(const std::string& name) {
  return u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str()) != UCHAR_INVALID_CODE;
}

class Translator {
 public:
  explicit Translator(std::string_view ruby) : in_(ruby) {}

  absl::StatusOr<std::string> Translate() {
    while (!AtEnd()) REGROUP_RETURN_IF_ERROR(in_class_ ? ClassItem() : Item());
    if (in_class_) return Unsupported("an unterminated set");
    return out_;
  }

 private:
  bool AtEnd() const { return at_ == in_.size(); }
  bool Follows(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  absl::Status Unsupported(std::string_view what) const {
    return absl::UnimplementedError(
        fmt::format("regular expression \"{}\": {} at byte {} is not supported", in_, what, at_));
  }

  void CopyCharacter() {
    const size_t bytes = std::min(CharacterBytes(in_[at_]), in_.size() - at_);
    out_ += in_.substr(at_, bytes);
    at_ += bytes;
  }

  /// Marks where the atom starts that a following {n,m}+ repeats.
  void StartAtom() { atom_start_ = out_.size(); }

  absl::Status Item();
  absl::Status ClassItem();
  absl::Status StartClass();
  absl::Status Group();
  absl::Status Interval();
  absl::Status Escape();
  absl::Status PropertyEscape();
  absl::Status CodeEscape();
  absl::Status SetEscape(std::string_view members, bool negated);
  absl::Status EmitSet(std::string_view members);

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  bool in_class_ = false;
  size_t atom_start_ = std::string::npos;
};

absl::Status Translator::Item() {
  switch (in_[at_]) {
    case '\\':
      StartAtom();
      return Escape();
    case '[':
      StartAtom();
      return StartClass();
    case '(':
      return Group();
    case '{':
      return Interval();
    case ')':
      atom_start_ = std::string::npos;
      CopyCharacter();
      return absl::OkStatus();
    case '*':
    case '+':
    case '?':
      CopyCharacter();
      return absl::OkStatus();
    default:
      StartAtom();
      CopyCharacter();
      return absl::OkStatus();
  }
}

absl::Status Translator::Group() {
  atom_start_ = std::string::npos;
  if (Follows("(?i)") && at_ != 0) return Unsupported("an option that is not at the start");
  for (const std::string_view start : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:", "(?i)"}) {
    if (!Follows(start)) continue;
    out_ += start;
    at_ += start.size();
    return absl::OkStatus();
  }
  if (Follows("(?") || Follows("(*")) return Unsupported("this kind of group");
  CopyCharacter();
  return absl::OkStatus();
}

// Ruby reads X{n,m}+ as a repeated X{n,m}, but PCRE2 as a possessive quantifier.
absl::Status Translator::Interval() {
  const size_t end = in_.find('}', at_);
  if (end == std::string_view::npos || end == at_ + 1 || in_[at_ + 1] == ',') return Unsupported("this use of {");
  for (const char c : in_.substr(at_ + 1, end - at_ - 1)) {
    if (c != ',' && !std::isdigit(static_cast<unsigned char>(c))) return Unsupported("this use of {");
  }
  out_ += in_.substr(at_, end + 1 - at_);
  at_ = end + 1;
  if (Follows("?") || Follows("*") || Follows("{")) return Unsupported("a quantifier after }");
  if (!Follows("+")) return absl::OkStatus();
  if (atom_start_ == std::string::npos) return Unsupported("a quantifier after }");
  out_.insert(atom_start_, "(?:");
  out_ += ")+";
  ++at_;
  return absl::OkStatus();
}

absl::Status Translator::StartClass() {
  CopyCharacter();
  if (Follows("^")) CopyCharacter();
  if (Follows("]")) return Unsupported("an empty set");
  in_class_ = true;
  return absl::OkStatus();
}

absl::Status Translator::ClassItem() {
  if (Follows("[")) return Unsupported("a set within a set");
  if (Follows("&&")) return Unsupported("an intersection of sets");
  if (Follows("\\")) return Escape();
  if (Follows("]")) in_class_ = false;
  CopyCharacter();
  return absl::OkStatus();
}

absl::Status Translator::Escape() {
  if (at_ + 1 == in_.size()) return Unsupported("a lone \\");
  switch (const char letter = in_[at_ + 1]; letter) {
    case 's':
      return SetEscape(kSpace, false);
    case 'S':
      return in_class_ ? EmitSet(kNotSpace) : SetEscape(kSpace, true);
    case 'w':
      return SetEscape(kWord, false);
    case 'W':
      return SetEscape(kWord, true);
    case 'd':
      return SetEscape(R"(\p{Nd})", false);
    case 'D':
      return in_class_ ? EmitSet(R"(\P{Nd})") : SetEscape(R"(\p{Nd})", true);
    case 'h':
      return SetEscape(kHex, false);
    case 'v':
      return SetEscape(R"(\x0b)", false);
    case 'p':
    case 'P':
      return PropertyEscape();
    case 'x':
    case 'u':
      return CodeEscape();
    default:
      if (std::isalnum(static_cast<unsigned char>(letter)) &&
          std::string_view("nrtfa").find(letter) == std::string::npos) {
        return Unsupported(fmt::format("\\{}", letter));
      }
      out_ += '\\';
      ++at_;
      CopyCharacter();
      return absl::OkStatus();
  }
}

absl::Status Translator::SetEscape(std::string_view members, bool negated) {
  if (in_class_ && negated) return Unsupported("this negation within a set");
  if (in_class_) return EmitSet(members);
  at_ += 2;
  out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
  return absl::OkStatus();
}

// A hyphen after a set is a plain hyphen, but after the last member written here it would make a range.
absl::Status Translator::EmitSet(std::string_view members) {
  at_ += 2;
  out_ += members;
  if (!Follows("-")) return absl::OkStatus();
  out_ += "\\-";
  ++at_;
  return absl::OkStatus();
}

// In Ruby \p{Han} is Unicode's Script property; in PCRE2 it is Script_Extensions unless "sc:" is written.
absl::Status Translator::PropertyEscape() {
  const size_t end = in_.find('}', at_);
  if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || end == std::string_view::npos) {
    return Unsupported("\\p without {}");
  }
  const std::string name(in_.substr(at_ + 3, end - at_ - 3));
  if (name.find_first_of("^:=") != std::string::npos) return Unsupported("this property");
  out_ += fmt::format("\\{}{{{}{}}}", in_[at_ + 1], IsScript(name) ? "sc:" : "", name);
  at_ = end + 1;
  return absl::OkStatus();
}

absl::Status Translator::CodeEscape() {
  const bool braced = in_[at_ + 1] == 'x' && at_ + 2 < in_.size() && in_[at_ + 2] == '{';
  const size_t begin = at_ + (braced ? 3 : 2);
  const size_t most = braced ? 8 : in_[at_ + 1] == 'u' ? 4 : 2;
  size_t end = begin;
  while (end < in_.size() && end - begin < most && std::isxdigit(static_cast<unsigned char>(in_[end]))) ++end;
  const size_t digits = end - begin;
  if (digits == 0 || (braced && (end == in_.size() || in_[end] != '}')) || (!braced && digits != most)) {
    return Unsupported("this character code");
  }
  // Ruby's \x80 and above are bytes of the encoding, not characters.
  if (!braced && most == 2 && in_[begin] >= '8') return Unsupported("a byte above \\x7f");
  out_ += fmt::format("\\x{{{}}}", in_.substr(begin, digits));
  at_ = end + (braced ? 1 : 0);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> TranslateRubyRegex(std::string_view ruby) { return Translator(ruby).Translate(); }

}  // namespace regroup
