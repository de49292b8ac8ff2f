// ToText and AppendRepr: values as Python prints them.
#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/value.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup::chat {
namespace {

bool IsPrintable(char32_t character) {
  if (character < 0x7f) return character >= 0x20;
  switch (u_charType(static_cast<UChar32>(character))) {
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_SURROGATE:
    case U_PRIVATE_USE_CHAR:
    case U_UNASSIGNED:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
    case U_SPACE_SEPARATOR:
      return false;
    default:
      return true;
  }
}

void AppendEscaped(char32_t character, std::string& text) {
  const auto code = static_cast<uint32_t>(character);
  text += code < 0x100     ? fmt::format("\\x{:02x}", code)
          : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                           : fmt::format("\\U{:08x}", code);
}

void AppendQuoted(const std::string& content, std::string& text) {
  const bool has_single = content.find('\'') != std::string::npos, has_double = content.find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  text += quote;
  for (size_t position = 0; position < content.size();) {
    const char32_t character = NextCharacter(content, position);
    if (character == static_cast<char32_t>(quote) || character == U'\\') {
      text += '\\';
      text += static_cast<char>(character);
    } else if (character == U'\n' || character == U'\r' || character == U'\t') {
      text += character == U'\n' ? "\\n" : character == U'\r' ? "\\r" : "\\t";
    } else if (IsPrintable(character)) {
      AppendCharacter(character, text);
    } else {
      AppendEscaped(character, text);
    }
  }
  text += quote;
}

void AppendItems(const std::vector<Value>& items, std::string& text) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += ", ";
    AppendRepr(items[i], text);
  }
}

void AppendMapping(const Mapping& mapping, std::string& text) {
  text += '{';
  for (size_t i = 0; i < mapping.entries.size(); ++i) {
    if (i > 0) text += ", ";
    AppendQuoted(mapping.entries[i].first, text);
    text += ": ";
    AppendRepr(mapping.entries[i].second, text);
  }
  text += '}';
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  if (value == 0) return std::signbit(value) ? "-0.0" : "0.0";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);
  const size_t mark = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(mark + 1));
  const bool is_negative = scientific[0] == '-';
  std::string digits;
  for (const char letter : scientific.substr(0, mark)) {
    if (letter >= '0' && letter <= '9') digits += letter;
  }
  std::string shown;
  if (exponent < -4 || exponent >= 16) {
    const std::string_view rest = std::string_view(digits).substr(1);
    shown = fmt::format("{}{}{}e{}{:02}", digits[0], rest.empty() ? "" : ".", rest, exponent < 0 ? '-' : '+',
                        std::abs(exponent));
  } else if (exponent < 0) {
    shown = fmt::format("0.{:0>{}}", digits, digits.size() + static_cast<size_t>(-exponent - 1));
  } else {
    const auto whole = static_cast<size_t>(exponent) + 1;
    digits.resize(std::max(digits.size(), whole + 1), '0');
    shown = fmt::format("{}.{}", std::string_view(digits).substr(0, whole), std::string_view(digits).substr(whole));
  }
  return fmt::format("{}{}", is_negative ? "-" : "", shown);
}

void AppendRepr(const Value& value, std::string& text) {
  if (text.size() > kMaxPrintedBytes) Unsupported("printing a value that is so large");
  switch (value.kind()) {
    case Kind::kUndefined:
      text += "Undefined";
      return;
    case Kind::kNone:
      text += "None";
      return;
    case Kind::kBool:
      text += value.integer() != 0 ? "True" : "False";
      return;
    case Kind::kInt:
      text += std::to_string(value.integer());
      return;
    case Kind::kFloat:
      text += FloatText(value.number());
      return;
    case Kind::kString:
      AppendQuoted(value.text(), text);
      return;
    case Kind::kList:
      text += '[';
      AppendItems(value.items(), text);
      text += ']';
      return;
    case Kind::kTuple:
      text += '(';
      AppendItems(value.items(), text);
      text += value.items().size() == 1 ? ",)" : ")";
      return;
    case Kind::kMapping:
      AppendMapping(value.mapping(), text);
      return;
    default:
      Unsupported(fmt::format("printing a value of the kind {}", TypeName(value)));
  }
}

std::string ToText(const Value& value) {
  if (value.IsUndefined()) return "";
  if (value.IsString() || value.Is(Kind::kMarkup)) return value.text();
  std::string text;
  AppendRepr(value, text);
  return text;
}

}  // namespace regroup::chat
