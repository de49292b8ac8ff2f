// ScalarFilters.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/filters.h"
#include "trainer/data/chat_template/json_text.h"
#include "trainer/data/chat_template/operators.h"
#include "trainer/data/chat_template/python_text.h"
#include "trainer/data/chat_template/text_methods.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup::chat {
namespace {

Value Trim(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"chars"});
  const std::string text = TextFor(value, name);
  if (!bound.IsSet(0)) return budget.Text(std::string(StripRight(StripLeft(text))));
  const std::string& characters = StringFor(bound.At(0), name);
  budget.Step(characters.size() * (1 + text.size() / 64));
  return budget.Text(std::string(StripRight(StripLeft(text, characters), characters)));
}

/// Capitals at the start of words, which spaces, hyphens and opening brackets separate.
std::string Titled(std::string_view text) {
  std::string result;
  size_t begin = 0;
  const auto add_word = [&](size_t end) {
    const std::string_view word = text.substr(begin, end - begin);
    if (word.empty()) return;
    const size_t first = CharacterBytes(word[0]);
    result += ToUpper(word.substr(0, first)) + ToLower(word.substr(first));
  };
  for (size_t position = 0; position < text.size();) {
    const size_t at = position;
    const char32_t character = NextCharacter(text, position);
    if (!IsSpace(character) && std::u32string_view(U"-({[<").find(character) == std::u32string_view::npos) continue;
    add_word(at);
    result += text.substr(at, position - at);
    begin = position;
  }
  add_word(text.size());
  return result;
}

Value ChangeCase(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  const std::string text = TextFor(value, name);
  budget.Make(text.size() * 2);
  if (name == "upper") return Value::String(ToUpper(text));
  if (name == "lower") return Value::String(ToLower(text));
  return Value::String(name == "title" ? Titled(text) : Capitalized(text));
}

Value ReplaceFilter(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"old", "new", "count"});
  const int64_t count = bound.IsSet(2) ? IntegerFor(bound.At(2), name) : -1;
  return Replace(budget, TextFor(value, name), TextFor(bound.At(0), name), TextFor(bound.At(1), name), count);
}

Value Default(Budget&, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"default_value", "boolean"});
  const bool replaces = value.IsUndefined() || (bound.Flag(1, false) && !IsTrue(value));
  return replaces ? bound.Or(0, Value::String("")) : value;
}

Value Text(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  if (name == "safe") return Value::Markup(ToText(value));
  return value.IsString() || value.Is(Kind::kMarkup) ? value : budget.Text(ToText(value));
}

Value Length(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  return Value::Int(static_cast<int64_t>(LengthOf(budget, value)));
}

/// Returns the number that a text of digits, a point and an exponent means; nothing for any other text.
std::optional<double> FloatOf(std::string_view text) {
  text = StripRight(StripLeft(text));
  if (!IsAscii(text) || text.find('_') != std::string_view::npos) Unsupported("a number in this notation");
  std::string_view digits = text;
  if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits.find_first_not_of("0123456789.eE+-") != std::string_view::npos) {
    const std::string lower = ToLower(digits);
    if (lower == "inf" || lower == "infinity" || lower == "nan") Unsupported("a number that is not finite");
    return std::nullopt;
  }
  const std::string terminated(text);
  char* end = nullptr;
  const double number = std::strtod(terminated.c_str(), &end);
  if (end != terminated.c_str() + terminated.size()) return std::nullopt;
  if (!std::isfinite(number)) Unsupported("a number that is not finite");
  return number;
}

Value ToFloat(Budget&, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"default"});
  if (value.IsUndefined()) WrongValue(fmt::format("'{}' is undefined", value.text()));
  if (value.IsNumber()) return Value::Float(value.number());
  const std::optional<double> number = value.IsString() ? FloatOf(value.text()) : std::nullopt;
  return number ? Value::Float(*number) : bound.Or(0, Value::Float(0.0));
}

Value WholeOf(double number) {
  if (std::isnan(number) || std::abs(number) >= 9.2e18) Unsupported("an integer of more than 64 bits");
  return Value::Int(static_cast<int64_t>(number));
}

Value ToInt(Budget&, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"default", "base"});
  if (bound.Has(1)) Unsupported("the filter int with a base");
  if (value.IsUndefined()) WrongValue(fmt::format("'{}' is undefined", value.text()));
  if (value.IsInteger()) return Value::Int(value.integer());
  if (value.Is(Kind::kFloat)) return WholeOf(value.number());
  if (!value.IsString()) return bound.Or(0, Value::Int(0));
  const std::optional<double> number = FloatOf(value.text());
  if (!number) return bound.Or(0, Value::Int(0));
  std::string_view digits = StripRight(StripLeft(value.text()));
  if (digits.starts_with('+')) digits.remove_prefix(1);
  int64_t integer = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), integer);
  if (error == std::errc() && end == digits.data() + digits.size()) return Value::Int(integer);
  return WholeOf(*number);
}

Value Absolute(Budget&, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  if (!value.IsNumber()) WrongValue(fmt::format("abs of {}", TypeName(value)));
  const bool is_negative = value.number() < 0 || (value.Is(Kind::kFloat) && std::signbit(value.number()));
  if (is_negative) return Negate(value);
  return value.Is(Kind::kFloat) ? value : Value::Int(value.integer());
}

double RoundedTo(double number, int64_t places) {
  if (!std::isfinite(number)) return number;
  return std::strtod(fmt::format("{:.{}f}", number, places).c_str(), nullptr);
}

Value Round(Budget&, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"precision", "method"});
  const int64_t places = bound.Has(0) ? IntegerFor(bound.At(0), name) : 0;
  const std::string method = bound.Has(1) ? StringFor(bound.At(1), name) : "common";
  if (!value.IsNumber()) WrongValue(fmt::format("round of {}", TypeName(value)));
  if (places < 0 || places > 15) Unsupported("round to so many places");
  if (method == "common") {
    if (value.IsInteger()) return Value::Int(value.integer());
    return Value::Float(RoundedTo(value.number(), places));
  }
  if (method != "ceil" && method != "floor") WrongValue(fmt::format("round by the method '{}'", method));
  const double scale = std::pow(10.0, static_cast<double>(places)), scaled = value.number() * scale;
  if (std::abs(scaled) > 9.0e15) Unsupported("round of a number that is so large");
  // Python's ceil and floor return integers, which have no negative zero.
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale + 0.0);
}

Value ToJson(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.only_ascii = bound.Flag(0, false), .sorts_keys = bound.Flag(3, false)};
  if (bound.IsSet(1)) {
    const Value& indent = bound.At(1);
    if (indent.IsInteger() && indent.integer() > 1000) Unsupported("tojson with such an indent");
    style.indent = indent.IsString()
                       ? indent.text()
                       : std::string(static_cast<size_t>(std::max<int64_t>(IntegerFor(indent, name), 0)), ' ');
    style.item_separator = ",";
  }
  if (bound.IsSet(2)) {
    const Value& both = bound.At(2);
    const bool is_pair = (both.Is(Kind::kTuple) || both.Is(Kind::kList)) && both.items().size() == 2;
    if (!is_pair) WrongValue("tojson needs two separators");
    style.item_separator = StringFor(both.items()[0], name);
    style.key_separator = StringFor(both.items()[1], name);
  }
  return Value::String(JsonText(budget, value, style));
}

Value Indent(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"width", "first", "blank"});
  std::string indent(4, ' ');
  if (bound.Has(0) && bound.At(0).IsString()) {
    indent = bound.At(0).text();
  } else if (bound.Has(0)) {
    const int64_t width = IntegerFor(bound.At(0), name);
    if (width > 1000) Unsupported("an indent that is so wide");
    indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const std::string text = StringFor(value, name) + "\n";
  const bool indents_blank = bound.Flag(2, false);
  std::string result = bound.Flag(1, false) ? indent : "";
  const auto lines = Lines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    budget.Make(indent.size() + lines[i].size());
    if (i > 0) result += '\n';
    if (i > 0 && (indents_blank || !lines[i].empty())) result += indent;
    result += lines[i];
  }
  return Value::String(std::move(result));
}

}  // namespace

const Filters& ScalarFilters() {
  static const Filters kFilters = {
      {"abs", Absolute},    {"capitalize", ChangeCase}, {"count", Length},          {"d", Default},
      {"default", Default}, {"float", ToFloat},         {"indent", Indent},         {"int", ToInt},
      {"length", Length},   {"lower", ChangeCase},      {"replace", ReplaceFilter}, {"round", Round},
      {"safe", Text},       {"string", Text},           {"title", ChangeCase},      {"tojson", ToJson},
      {"trim", Trim},       {"upper", ChangeCase},
  };
  return kFilters;
}

}  // namespace regroup::chat
