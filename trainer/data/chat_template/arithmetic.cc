// Calculate and Negate.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/operators.h"

namespace regroup::chat {
namespace {

/// Integers up to here are exact as doubles, so that their quotient is rounded once.
constexpr int64_t kMaxExact = int64_t{1} << 53;

[[noreturn]] void TooLarge() { Unsupported("an integer of more than 64 bits"); }

int64_t FloorDivide(int64_t left, int64_t right) {
  if (right == -1 && left == std::numeric_limits<int64_t>::min()) TooLarge();
  const int64_t quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

Value Power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) WrongValue("0 has no negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  if (base == 0 || base == 1) return Value::Int(exponent == 0 ? 1 : base);
  for (int64_t i = 0; i < exponent; ++i) {
    if (i > 64) TooLarge();
    if (__builtin_mul_overflow(result, base, &result)) TooLarge();
  }
  return Value::Int(result);
}

Value OfIntegers(std::string_view sign, int64_t left, int64_t right) {
  int64_t result = 0;
  if (sign == "**") return Power(left, right);
  if (sign == "+" || sign == "-" || sign == "*") {
    const bool overflows = sign == "+"   ? __builtin_add_overflow(left, right, &result)
                           : sign == "-" ? __builtin_sub_overflow(left, right, &result)
                                         : __builtin_mul_overflow(left, right, &result);
    if (overflows) TooLarge();
    return Value::Int(result);
  }
  if (right == 0) WrongValue("division by zero");
  if (sign == "//") return Value::Int(FloorDivide(left, right));
  if (sign == "%") return Value::Int(right == -1 ? 0 : left - FloorDivide(left, right) * right);
  if (std::max(std::abs(left / 2), std::abs(right / 2)) > kMaxExact / 2) Unsupported("a quotient of large integers");
  return Value::Float(static_cast<double>(left) / static_cast<double>(right));
}

/// Python's divmod of floats.
Value FloorOrRest(double left, double right, bool wants_rest) {
  double rest = std::fmod(left, right);
  double quotient = (left - rest) / right;
  if (rest == 0) {
    rest = std::copysign(0.0, right);
  } else if ((right < 0) != (rest < 0)) {
    rest += right;
    quotient -= 1;
  }
  if (wants_rest) return Value::Float(rest);
  if (quotient == 0) return Value::Float(std::copysign(0.0, left / right));
  const double whole = std::floor(quotient);
  return Value::Float(quotient - whole > 0.5 ? whole + 1 : whole);
}

Value OfFloats(std::string_view sign, double left, double right) {
  if (sign == "+") return Value::Float(left + right);
  if (sign == "-") return Value::Float(left - right);
  if (sign == "*") return Value::Float(left * right);
  if (sign == "**") {
    const double power = std::pow(left, right);
    const bool is_plain = std::isfinite(power) && std::isfinite(left) && std::isfinite(right);
    if (!is_plain) Unsupported("a power that is not a finite number");
    return Value::Float(power);
  }
  if (right == 0) WrongValue("division by zero");
  if (sign == "/") return Value::Float(left / right);
  return FloorOrRest(left, right, sign == "%");
}

std::string Repeated(Budget& budget, const std::string& text, size_t times) {
  if (times > 0 && text.size() > kMaxMadeBytes / times) Unsupported("more text than a conversation may take");
  budget.Make(text.size() * times);
  std::string result;
  result.reserve(text.size() * times);
  for (size_t i = 0; i < times && !text.empty(); ++i) result += text;
  return result;
}

Value Repeat(Budget& budget, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (value.IsString()) return Value::String(Repeated(budget, value.text(), count));
  const auto& items = value.items();
  if (count > 0 && items.size() > kMaxMadeBytes / sizeof(Value) / count) Unsupported("a list that is so long");
  budget.Make(items.size() * count * sizeof(Value));
  std::vector<Value> repeated;
  for (size_t i = 0; i < count && !items.empty(); ++i) repeated.insert(repeated.end(), items.begin(), items.end());
  return Value::Of(value.kind(), std::move(repeated));
}

bool CanRepeat(const Value& value) { return value.IsString() || value.Is(Kind::kList) || value.Is(Kind::kTuple); }

Value Add(Budget& budget, const Value& left, const Value& right) {
  if (left.IsString()) {
    budget.Make(left.text().size() + right.text().size());
    return Value::String(left.text() + right.text());
  }
  std::vector<Value> items = left.items();
  items.insert(items.end(), right.items().begin(), right.items().end());
  return budget.Items(left.kind(), std::move(items));
}

}  // namespace

Value Calculate(Budget& budget, std::string_view sign, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    if (value->IsUndefined()) WrongValue(fmt::format("'{}' is undefined", value->text()));
    if (value->Is(Kind::kMarkup)) Unsupported(fmt::format("'{}' behind the filter safe", sign));
  }
  // Jinja writes a negative constant without parentheses into the Python that it makes, where '**' binds more tightly.
  if (sign == "**" && left.IsNumber() && left.number() < 0) Unsupported("a power of a negative number");
  if (left.IsInteger() && right.IsInteger()) return OfIntegers(sign, left.integer(), right.integer());
  if (left.IsNumber() && right.IsNumber()) return OfFloats(sign, left.number(), right.number());
  if (left.IsString() && sign == "%") Unsupported("'%' behind a text");
  if (sign == "+" && CanRepeat(left) && left.kind() == right.kind()) return Add(budget, left, right);
  if (sign == "*" && CanRepeat(left) && right.IsInteger()) return Repeat(budget, left, right.integer());
  if (sign == "*" && CanRepeat(right) && left.IsInteger()) return Repeat(budget, right, left.integer());
  WrongValue(fmt::format("'{}' between {} and {}", sign, TypeName(left), TypeName(right)));
}

Value Negate(const Value& value) {
  if (value.Is(Kind::kFloat)) return Value::Float(-value.number());
  if (!value.IsInteger()) WrongValue(fmt::format("'-' before {}", TypeName(value)));
  if (value.integer() == std::numeric_limits<int64_t>::min()) TooLarge();
  return Value::Int(-value.integer());
}

}  // namespace regroup::chat
