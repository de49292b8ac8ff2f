#include "trainer/data/tokenizer/regex_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/regex_property.h"
#include "trainer/data/tokenizer/regex_set.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

CharacterSet SetOf(std::string_view members, bool negated) {
  CharacterSet set;
  set.Add(members);
  if (negated) set.Complement();
  return set;
}

class Translator {
 public:
  explicit Translator(std::string_view ruby) : in_(ruby) {}

  absl::StatusOr<std::string> Translate() {
    while (!AtEnd()) REGROUP_RETURN_IF_ERROR(Item());
    return out_;
  }

 private:
  bool AtEnd() const { return at_ == in_.size(); }
  bool Follows(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  absl::Status Unsupported(std::string_view what) const {
    return absl::UnimplementedError(
        fmt::format("regular expression \"{}\": {} at byte {} is not supported", in_, what, at_));
  }

  std::string_view TakeCharacter() {
    const size_t bytes = std::min(CharacterBytes(in_[at_]), in_.size() - at_);
    at_ += bytes;
    return in_.substr(at_ - bytes, bytes);
  }
  void CopyCharacter() { out_ += TakeCharacter(); }

  /// Marks where the atom starts that a following {n,m}+ repeats.
  void StartAtom() { atom_start_ = out_.size(); }

  absl::Status Item();
  absl::Status Group();
  absl::Status Interval();
  absl::Status Escape();
  absl::Status Anchor(std::string_view pcre);
  absl::Status Set();
  /// The sets around a set.
  struct Nesting {
    int depth = 0;
    bool negated = false;
  };
  /// Reads a set from its opening bracket to its closing one.
  absl::StatusOr<CharacterSet> ReadSet(const Nesting& around);
  absl::Status SetItem(CharacterSet& set, const Nesting& around);
  absl::Status SetRange(CharacterSet& set);
  absl::StatusOr<CharacterSet> PosixSet();
  /// Reads an escape that stands for a set: \s, \W, \p{L}; nothing if another escape follows. `word` holds the
  /// members of \w.
  absl::StatusOr<std::optional<CharacterSet>> SetEscape(std::string_view word);
  /// Reads an escape that stands for one character, and returns it as PCRE2 writes it.
  absl::StatusOr<std::string> CharacterEscape();
  absl::StatusOr<std::string> PropertyEscape();
  absl::StatusOr<std::string> CodeEscape();

  std::string_view in_;
  /// True if case is ignored: the first entry is that of the whole pattern, then one follows for each group around this
  /// place. Oniguruma folds such sets before it combines them, and PCRE2 afterwards.
  std::vector<bool> ignores_case_{false};
  size_t at_ = 0;
  std::string out_;
  size_t atom_start_ = std::string::npos;
};

absl::Status Translator::Item() {
  switch (in_[at_]) {
    case '\\':
      StartAtom();
      return Escape();
    case '[':
      StartAtom();
      return Set();
    case '(':
      return Group();
    case '{':
      return Interval();
    case ')':
      atom_start_ = std::string::npos;
      if (ignores_case_.size() > 1) ignores_case_.pop_back();
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
    if (start == "(?i)") {
      ignores_case_.back() = true;
    } else {
      ignores_case_.push_back(start == "(?i:" || (start != "(?-i:" && ignores_case_.back()));
    }
    return absl::OkStatus();
  }
  if (Follows("(?") || Follows("(*")) return Unsupported("this kind of group");
  ignores_case_.push_back(ignores_case_.back());
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

absl::Status Translator::Set() {
  REGROUP_ASSIGN_OR_RETURN(const CharacterSet set, ReadSet({}));
  out_ += set.Expression();
  return absl::OkStatus();
}

absl::StatusOr<CharacterSet> Translator::ReadSet(const Nesting& around) {
  constexpr int kMaxDepth = 100;
  if (around.depth > kMaxDepth) return Unsupported("so deep a nesting of sets");
  ++at_;
  CharacterSet set;
  const bool negated = Follows("^");
  // Oniguruma 6.9 loses the characters above U+007F where the inner set has none of them.
  if (negated && around.negated) return Unsupported("a negated set within a negated set");
  if (negated) ++at_;
  const Nesting here{around.depth + 1, around.negated || negated};
  // Directly after the opening bracket, a closing one stands for itself where another one closes the set.
  if (Follows("]")) {
    if (in_.find(']', at_ + 1) == std::string_view::npos) return Unsupported("an empty set");
    REGROUP_RETURN_IF_ERROR(SetRange(set));
  }
  while (!Follows("]")) {
    if (AtEnd()) return Unsupported("an unterminated set");
    REGROUP_RETURN_IF_ERROR(SetItem(set, here));
  }
  ++at_;
  if (negated) set.Complement();
  return set;
}

absl::Status Translator::SetItem(CharacterSet& set, const Nesting& around) {
  if (Follows("&&")) {
    if (ignores_case_.back()) return Unsupported("an intersection of sets where case is ignored");
    at_ += 2;
    set.EndOperand();
    return absl::OkStatus();
  }
  std::optional<CharacterSet> inner;
  if (Follows("[:")) {
    REGROUP_ASSIGN_OR_RETURN(inner, PosixSet());
  } else if (Follows("[")) {
    REGROUP_ASSIGN_OR_RETURN(inner, ReadSet(around));
  } else if (Follows("\\")) {
    REGROUP_ASSIGN_OR_RETURN(inner, SetEscape(kWordMembers));
  }
  if (!inner) return SetRange(set);
  set.AddSet(*inner);
  if (ignores_case_.back() && !set.IsSimple()) return Unsupported("a negated set within a set where case is ignored");
  // A hyphen after a set is a plain hyphen.
  if (Follows("-")) set.AddCharacter(TakeCharacter());
  return absl::OkStatus();
}

/// Reads a character, or a range of characters.
absl::Status Translator::SetRange(CharacterSet& set) {
  const auto read = [this]() -> absl::StatusOr<std::string> {
    if (AtEnd()) return Unsupported("an unterminated set");
    if (Follows("\\")) return CharacterEscape();
    CharacterSet one;
    one.AddCharacter(TakeCharacter());
    const std::string written = one.Expression();
    return written.substr(1, written.size() - 2);
  };
  REGROUP_ASSIGN_OR_RETURN(const std::string first, read());
  set.Add(first);
  if (!Follows("-") || Follows("-]") || Follows("-&&")) return absl::OkStatus();
  ++at_;
  if (Follows("[")) return Unsupported("a range that ends in a set");
  const size_t before = at_;
  REGROUP_ASSIGN_OR_RETURN(
      const std::optional<CharacterSet> end,
      Follows("\\") ? SetEscape(kWordMembers) : absl::StatusOr<std::optional<CharacterSet>>(std::nullopt));
  if (end) {
    at_ = before;
    return Unsupported("a range that ends in a set");
  }
  REGROUP_ASSIGN_OR_RETURN(const std::string last, read());
  set.Add("-" + last);
  // A hyphen after a range is a plain hyphen.
  if (Follows("-")) set.AddCharacter(TakeCharacter());
  return absl::OkStatus();
}

absl::StatusOr<CharacterSet> Translator::PosixSet() {
  const size_t end = in_.find(":]", at_);
  if (end == std::string_view::npos) return Unsupported("[: without :]");
  std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
  const bool negated = name.starts_with('^');
  if (negated) name.remove_prefix(1);
  const std::optional<std::string> members = PosixMembers(name);
  if (!members) return Unsupported("this set of POSIX");
  if (ignores_case_.back() && DependOnCase(*members)) return Unsupported("a set of one case where case is ignored");
  at_ = end + 2;
  return SetOf(*members, negated);
}

absl::StatusOr<std::optional<CharacterSet>> Translator::SetEscape(std::string_view word) {
  if (at_ + 1 == in_.size()) return Unsupported("a lone \\");
  const char letter = in_[at_ + 1];
  if (letter == 'p' || letter == 'P') {
    REGROUP_ASSIGN_OR_RETURN(const std::string property, PropertyEscape());
    if (ignores_case_.back() && DependOnCase(property)) return Unsupported("a set of one case where case is ignored");
    return SetOf(property, false);
  }
  std::string_view members;
  switch (std::tolower(static_cast<unsigned char>(letter))) {
    case 's':
      members = kSpaceMembers;
      break;
    case 'w':
      members = word;
      break;
    case 'd':
      members = R"(\p{Nd})";
      break;
    case 'h':
      members = kHexMembers;
      break;
    default:
      return std::nullopt;
  }
  at_ += 2;
  const bool negated = std::isupper(static_cast<unsigned char>(letter)) != 0;
  // Simple where PCRE2 has a negation of its own, so that it may stand in a pattern that ignores case.
  if (letter == 'S') return SetOf(kNotSpaceMembers, false);
  if (letter == 'D') return SetOf(R"(\P{Nd})", false);
  return SetOf(members, negated);
}

absl::Status Translator::Anchor(std::string_view pcre) {
  at_ += 2;
  atom_start_ = std::string::npos;
  out_ += pcre;
  return absl::OkStatus();
}

absl::Status Translator::Escape() {
  REGROUP_ASSIGN_OR_RETURN(const std::optional<CharacterSet> set, SetEscape(kLoneWordMembers));
  if (set) {
    out_ += set->Expression();
    return absl::OkStatus();
  }
  switch (in_[at_ + 1]) {
    case 'A':
      return Anchor("\\A");
    case 'z':
      return Anchor("\\z");
    case 'Z':
      return Anchor("\\Z");
    // The two disagree on what a word is.
    case 'b':
      return Anchor(fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kLoneWordMembers));
    case 'B':
      return Anchor(fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", kLoneWordMembers));
    default: {
      REGROUP_ASSIGN_OR_RETURN(const std::string character, CharacterEscape());
      out_ += character;
      return absl::OkStatus();
    }
  }
}

absl::StatusOr<std::string> Translator::CharacterEscape() {
  if (at_ + 1 == in_.size()) return Unsupported("a lone \\");
  const char letter = in_[at_ + 1];
  if (letter == 'x' || letter == 'u') return CodeEscape();
  if (letter == 'v') {
    at_ += 2;
    return R"(\x0b)";
  }
  if (std::isalnum(static_cast<unsigned char>(letter)) &&
      std::string_view("nrtfae").find(letter) == std::string::npos) {
    return Unsupported(fmt::format("\\{}", letter));
  }
  ++at_;
  return fmt::format("\\{}", TakeCharacter());
}

absl::StatusOr<std::string> Translator::PropertyEscape() {
  const size_t end = in_.find('}', at_);
  if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || end == std::string_view::npos) {
    return Unsupported("\\p without {}");
  }
  std::string name(in_.substr(at_ + 3, end - at_ - 3));
  char letter = in_[at_ + 1];
  if (name.starts_with('^')) {
    name.erase(0, 1);
    letter = letter == 'p' ? 'P' : 'p';
  }
  if (name.find_first_of("^:=") != std::string::npos) return Unsupported("this property");
  at_ = end + 1;
  return PropertyMembers(letter, name);
}

absl::StatusOr<std::string> Translator::CodeEscape() {
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
  at_ = end + (braced ? 1 : 0);
  return fmt::format("\\x{{{}}}", in_.substr(begin, digits));
}

}  // namespace

absl::StatusOr<std::string> TranslateRubyRegex(std::string_view ruby) { return Translator(ruby).Translate(); }

}  // namespace regroup
