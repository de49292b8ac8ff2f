#include "trainer/data/chat_template/text_methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/operators.h"
#include "trainer/data/chat_template/python_text.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup::chat {
namespace {

using Call = Value (*)(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments);
using Parts = std::vector<std::string_view>;

Value Strip(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  const Bound bound = Bound::ByPlace(name, arguments, {"chars"});
  std::string_view text = self;
  if (bound.IsSet(0)) {
    const std::string& characters = StringFor(bound.At(0), name);
    budget.Step(characters.size() * (1 + self.size() / 64));
    if (name != "rstrip") text = StripLeft(text, characters);
    if (name != "lstrip") text = StripRight(text, characters);
  } else {
    if (name != "rstrip") text = StripLeft(text);
    if (name != "lstrip") text = StripRight(text);
  }
  return budget.Text(std::string(text));
}

Parts SplitAtSpaces(std::string_view text, int64_t most) {
  Parts parts;
  for (text = StripLeft(text); !text.empty(); text = StripLeft(text)) {
    if (most-- == 0) {
      parts.push_back(StripRight(text));
      break;
    }
    size_t end = 0;
    for (size_t next = 0; next < text.size(); end = next) {
      if (IsSpace(NextCharacter(text, next))) break;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

Parts SplitAt(std::string_view text, std::string_view separator, int64_t most) {
  Parts parts;
  size_t begin = 0;
  for (size_t end = Find(text, separator); end != std::string_view::npos && most-- != 0;
       end = Find(text, separator, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

/// Cuts at the last separators.
Parts SplitAtLast(std::string_view text, std::string_view separator, int64_t most) {
  Parts parts;
  while (most-- != 0) {
    const size_t place = text.rfind(separator);
    if (place == std::string_view::npos) break;
    parts.push_back(text.substr(place + separator.size()));
    text = text.substr(0, place);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Value ListOf(Budget& budget, const Parts& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(budget.Text(std::string(part)));
  return budget.Items(Kind::kList, std::move(items));
}

Value Split(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"sep", "maxsplit"});
  const int64_t most = bound.Has(1) ? IntegerFor(bound.At(1), name) : -1;
  budget.Make(self.size() * 2);
  if (!bound.IsSet(0)) {
    if (name == "rsplit" && most >= 0) Unsupported("rsplit with a limit and without a separator");
    return ListOf(budget, SplitAtSpaces(self, most));
  }
  const std::string& separator = StringFor(bound.At(0), name);
  if (separator.empty()) WrongValue("an empty separator");
  const bool from_right = name == "rsplit" && most >= 0;
  if (from_right) budget.Step(self.size() / 64 * separator.size());
  return ListOf(budget, from_right ? SplitAtLast(self, separator, most) : SplitAt(self, separator, most));
}

Value StartsOrEnds(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  if (arguments.values.size() > 1) Unsupported(fmt::format("{} with a range", name));
  const Bound bound = Bound::ByPlace(name, arguments, {"prefix"});
  const auto fits = [&](const Value& part) {
    budget.Step();
    const std::string& text = StringFor(part, name);
    return name == "startswith" ? self.starts_with(text) : self.ends_with(text);
  };
  if (!bound.At(0).Is(Kind::kTuple)) return Value::Bool(fits(bound.At(0)));
  const auto& parts = bound.At(0).items();
  return Value::Bool(std::any_of(parts.begin(), parts.end(), fits));
}

Value ReplaceMethod(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  const Bound bound = Bound::ByPlace(name, arguments, {"old", "new", "count"});
  const int64_t count = bound.Has(2) ? IntegerFor(bound.At(2), name) : -1;
  return Replace(budget, self, StringFor(bound.At(0), name), StringFor(bound.At(1), name), count);
}

Value RemovePart(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  const Bound bound = Bound::ByPlace(name, arguments, {"part"});
  const std::string& part = StringFor(bound.At(0), name);
  std::string_view text = self;
  if (name == "removeprefix" && text.starts_with(part)) text.remove_prefix(part.size());
  if (name == "removesuffix" && text.ends_with(part)) text.remove_suffix(part.size());
  return budget.Text(std::string(text));
}

Value ChangeCase(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  Bound::ByPlace(name, arguments, {});
  budget.Make(self.size());
  if (name == "upper") return Value::String(ToUpper(self));
  if (name == "lower") return Value::String(ToLower(self));
  if (name == "capitalize") return Value::String(Capitalized(self));
  if (!IsAscii(self)) Unsupported("title() of other letters than ASCII");
  std::string text = self;
  bool in_word = false;
  for (char& letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    letter = in_word ? absl::ascii_tolower(byte) : absl::ascii_toupper(byte);
    in_word = absl::ascii_isalpha(byte);
  }
  return Value::String(std::move(text));
}

Value FindMethod(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  if (arguments.values.size() > 1) Unsupported(fmt::format("{} with a range", name));
  const Bound bound = Bound::ByPlace(name, arguments, {"part"});
  const std::string& part = StringFor(bound.At(0), name);
  budget.Step(self.size() / 64 * (name == "rfind" ? part.size() + 1 : 1));
  const size_t place = name == "find" ? Find(self, part) : self.rfind(part);
  if (place == std::string::npos) return Value::Int(-1);
  return Value::Int(static_cast<int64_t>(CountCharacters(std::string_view(self).substr(0, place))));
}

Value Count(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  if (arguments.values.size() > 1) Unsupported("count with a range");
  const Bound bound = Bound::ByPlace(name, arguments, {"part"});
  const std::string& part = StringFor(bound.At(0), name);
  budget.Make(self.size());
  if (part.empty()) return Value::Int(static_cast<int64_t>(CountCharacters(self)) + 1);
  return Value::Int(static_cast<int64_t>(SplitAt(self, part, -1).size()) - 1);
}

Value Join(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  const Bound bound = Bound::ByPlace(name, arguments, {"items"});
  std::string text;
  bool is_first = true;
  for (const Value& item : ItemsOf(budget, bound.At(0))) {
    const std::string& part = StringFor(item, "join()");
    budget.Make(part.size() + self.size());
    if (!is_first) text += self;
    is_first = false;
    text += part;
  }
  return Value::String(std::move(text));
}

Value SplitLines(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  if (!arguments.values.empty() || !arguments.named.empty()) Unsupported(fmt::format("{} with an argument", name));
  budget.Make(self.size());
  return ListOf(budget, Lines(self));
}

const std::map<std::string_view, Call>& Calls() {
  static const std::map<std::string_view, Call> kCalls = {
      {"capitalize", ChangeCase},
      {"count", Count},
      {"endswith", StartsOrEnds},
      {"find", FindMethod},
      {"join", Join},
      {"lower", ChangeCase},
      {"lstrip", Strip},
      {"removeprefix", RemovePart},
      {"removesuffix", RemovePart},
      {"replace", ReplaceMethod},
      {"rfind", FindMethod},
      {"rsplit", Split},
      {"rstrip", Strip},
      {"split", Split},
      {"splitlines", SplitLines},
      {"startswith", StartsOrEnds},
      {"strip", Strip},
      {"title", ChangeCase},
      {"upper", ChangeCase},
  };
  return kCalls;
}

bool EndsLine(char32_t character) {
  return (character >= 0x0a && character <= 0x0d) || (character >= 0x1c && character <= 0x1e) || character == 0x85 ||
         character == 0x2028 || character == 0x2029;
}

}  // namespace

const std::set<std::string_view>& TextMethods() {
  static const std::set<std::string_view> kNames = [] {
    std::set<std::string_view> names;
    for (const auto& [name, call] : Calls()) names.insert(name);
    return names;
  }();
  return kNames;
}

Value CallTextMethod(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments) {
  return Calls().at(name)(budget, self, name, arguments);
}

Value Replace(Budget& budget, std::string_view self, std::string_view old, std::string_view replacement,
              int64_t count) {
  budget.Make(self.size());
  std::string text;
  const auto add = [&](std::string_view part) {
    budget.Make(part.size());
    text += part;
  };
  if (old.empty()) {
    // Between all characters, and at both ends.
    const auto characters = Characters(self);
    for (size_t i = 0; i <= characters.size(); ++i) {
      if (count < 0 || static_cast<int64_t>(i) < count) add(replacement);
      if (i < characters.size()) text += characters[i];
    }
    return Value::String(std::move(text));
  }
  const Parts parts = SplitAt(self, old, count);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) add(replacement);
    text += parts[i];
  }
  return Value::String(std::move(text));
}

std::vector<std::string_view> Lines(std::string_view self) {
  Parts lines;
  size_t begin = 0;
  for (size_t position = 0; position < self.size();) {
    const size_t end = position;
    const char32_t character = NextCharacter(self, position);
    if (!EndsLine(character)) continue;
    if (character == U'\r' && position < self.size() && self[position] == '\n') ++position;
    lines.push_back(self.substr(begin, end - begin));
    begin = position;
  }
  if (begin < self.size()) lines.push_back(self.substr(begin));
  return lines;
}

std::string Capitalized(std::string_view self) {
  if (self.empty()) return "";
  const size_t first = CharacterBytes(self[0]);
  if (first > 1) Unsupported("capitalising another letter than an ASCII one");
  // Lower case first: the form of a sigma depends on what is before it.
  std::string text = ToLower(self);
  text[0] = absl::ascii_toupper(static_cast<unsigned char>(self[0]));
  return text;
}

}  // namespace regroup::chat
