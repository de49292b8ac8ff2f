#include "trainer/data/tokenizer/regex_set.h"

#include <fmt/format.h>

namespace regroup {

void CharacterSet::AddCharacter(std::string_view character) {
  // With a colon, a dot or an equals sign after its bracket, PCRE2 would read a class of POSIX.
  if (std::string_view("\\[]^-:.=").find(character) != std::string_view::npos) operand_.members += '\\';
  operand_.members += character;
}

void CharacterSet::AddSet(const CharacterSet& set) {
  if (set.negated_ || !set.operands_.empty()) {
    operand_.others.push_back(set.Expression());
    return;
  }
  operand_.members += set.operand_.members;
  operand_.others.insert(operand_.others.end(), set.operand_.others.begin(), set.operand_.others.end());
}

void CharacterSet::EndOperand() {
  operands_.push_back(std::move(operand_));
  operand_ = {};
}

std::string CharacterSet::ExpressionOf(const Operand& operand) {
  if (operand.members.empty() && operand.others.empty()) return "(?!)";
  if (operand.others.empty()) return fmt::format("[{}]", operand.members);
  std::string alternatives = operand.members.empty() ? "" : fmt::format("[{}]", operand.members);
  for (const std::string& other : operand.others) {
    if (!alternatives.empty()) alternatives += '|';
    alternatives += other;
  }
  // Atomic: to try another set on the same character would only repeat the match, over and over in a repetition.
  return fmt::format("(?>{})", alternatives);
}

std::string CharacterSet::Expression() const {
  if (IsSimple() && !operand_.members.empty()) return fmt::format("[{}{}]", negated_ ? "^" : "", operand_.members);
  std::string all;
  for (const Operand& operand : operands_) all += fmt::format("(?={})", ExpressionOf(operand));
  all += ExpressionOf(operand_);
  return negated_ ? fmt::format("(?:(?!{})(?s:.))", all) : fmt::format("(?:{})", all);
}

}  // namespace regroup
