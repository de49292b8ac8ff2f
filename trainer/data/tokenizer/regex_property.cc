#include "trainer/data/tokenizer/regex_property.h"

#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <cctype>

namespace regroup {

// Unicode's White_Space and its complement; PCRE2's \s would add U+180E.
const std::string_view kSpaceMembers =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
const std::string_view kNotSpaceMembers =
    R"(\x00-\x08\x0e-\x1f\x21-\x84\x86-\x9f\xa1-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
const std::string_view kWordMembers = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
// Outside brackets, Oniguruma counts the superscripts and fractions of Latin-1 among the word characters.
const std::string_view kLoneWordMembers = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xb2\xb3\xb9\xbc-\xbe)";
const std::string_view kHexMembers = "0-9a-fA-F";

std::optional<std::string> PosixMembers(std::string_view name) {
  if (name == "alnum") return R"(\p{Alphabetic}\p{Nd})";
  if (name == "alpha") return R"(\p{Alphabetic})";
  if (name == "ascii") return R"(\x00-\x7f)";
  if (name == "blank") return R"(\x09\p{Zs})";
  if (name == "cntrl") return R"(\p{Cc})";
  if (name == "digit") return R"(\p{Nd})";
  if (name == "lower") return R"(\p{Lowercase})";
  if (name == "punct") return R"(\p{P}\p{S})";
  if (name == "space") return std::string(kSpaceMembers);
  if (name == "upper") return R"(\p{Uppercase})";
  if (name == "word") return std::string(kWordMembers);
  if (name == "xdigit") return std::string(kHexMembers);
  return std::nullopt;
}

std::string PropertyMembers(char letter, const std::string& name) {
  // In Ruby \p{Han} is Unicode's Script property; in PCRE2 it is Script_Extensions unless "sc:" is written.
  if (u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str()) != UCHAR_INVALID_CODE) {
    return fmt::format("\\{}{{sc:{}}}", letter, name);
  }
  // PCRE2 knows general categories by their short names only.
  const int32_t category = u_getPropertyValueEnum(UCHAR_GENERAL_CATEGORY_MASK, name.c_str());
  if (category == UCHAR_INVALID_CODE) return fmt::format("\\{}{{{}}}", letter, name);
  return fmt::format("\\{}{{{}}}", letter,
                     u_getPropertyValueName(UCHAR_GENERAL_CATEGORY_MASK, category, U_SHORT_PROPERTY_NAME));
}

bool DependOnCase(std::string_view members) {
  std::string lower(members);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  constexpr std::string_view kOfOneCase[] = {"{lu}", "{ll}", "{lt}", "{upper", "{lower"};
  return std::any_of(std::begin(kOfOneCase), std::end(kOfOneCase),
                     [&lower](std::string_view name) { return lower.find(name) != std::string::npos; });
}

}  // namespace regroup
