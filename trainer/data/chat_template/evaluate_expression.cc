// The expressions of Evaluator.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string_view>

#include "trainer/data/chat_template/evaluator.h"
#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/filters.h"
#include "trainer/data/chat_template/methods.h"
#include "trainer/data/chat_template/operators.h"
#include "trainer/data/chat_template/tests.h"

namespace regroup::chat {
namespace {

using Is = Expression::Kind;

/// The sandbox of Jinja allows no more.
constexpr int64_t kMaxRange = 100'000;
const std::set<std::string_view> kFunctions = {"dict", "namespace", "raise_exception", "range", "strftime_now"};

Value RangeOf(Budget& budget, const Arguments& arguments) {
  const Bound bound = Bound::ByPlace("range", arguments, {"start", "stop", "step"});
  const bool has_start = bound.Has(1);
  const int64_t start = has_start ? IntegerFor(bound.At(0), "range") : 0;
  const int64_t stop = IntegerFor(bound.At(has_start ? 1 : 0), "range");
  const int64_t step = bound.Has(2) ? IntegerFor(bound.At(2), "range") : 1;
  if (step == 0) WrongValue("the step of a range is 0");
  for (const int64_t bound_value : {start, stop, step}) {
    if (std::abs(bound_value / 4) > (int64_t{1} << 58)) Unsupported("a range of large numbers");
  }
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() == kMaxRange) WrongValue(fmt::format("a range of more than {} numbers", kMaxRange));
    items.push_back(Value::Int(i));
  }
  return budget.Items(Kind::kRange, std::move(items));
}

/// The entries of dict(...) and namespace(...): those of a mapping, and the named ones.
std::shared_ptr<Mapping> EntriesOf(Budget& budget, const std::string& what, const Arguments& arguments) {
  if (arguments.values.size() > 1) WrongValue(fmt::format("{} takes one value", what));
  auto mapping = std::make_shared<Mapping>();
  if (!arguments.values.empty()) {
    if (!arguments.values[0].Is(Kind::kMapping))
      Unsupported(fmt::format("{} of {}", what, TypeName(arguments.values[0])));
    budget.Make(arguments.values[0].mapping().entries.size() * 2 * sizeof(Value));
    for (const auto& [key, value] : arguments.values[0].mapping().entries) mapping->Set(key, value);
  }
  for (const auto& [name, value] : arguments.named) mapping->Set(name, value);
  return mapping;
}

}  // namespace

Value Evaluator::Evaluate(const Expression& expression, Frame& frame) {
  const Budget::Level level(budget_);
  try {
    return EvaluateKind(expression, frame);
  } catch (Failure& failure) {
    if (failure.line == 0) failure.line = expression.line;
    throw;
  }
}

Value Evaluator::EvaluateKind(const Expression& expression, Frame& frame) {
  const auto part = [&](size_t i) { return Evaluate(*expression.parts[i], frame); };
  switch (expression.kind) {
    case Is::kConstant:
      return expression.constant;
    case Is::kName:
      return EvaluateName(expression.name, frame);
    case Is::kList:
    case Is::kTuple:
      return EvaluateItems(expression, frame);
    case Is::kMapping:
      return EvaluateMapping(expression, frame);
    case Is::kAttribute:
      return AttributeOf(budget_, part(0), expression.name);
    case Is::kItem: {
      const Value value = part(0);
      return ItemOf(budget_, value, part(1));
    }
    case Is::kSlice:
      return EvaluateSlice(expression, frame);
    case Is::kCall:
      return EvaluateCall(expression, frame);
    case Is::kFilter: {
      const Value value = part(0);
      return ApplyFilter(budget_, expression.name, value, EvaluateArguments(expression, frame));
    }
    case Is::kTest:
      return EvaluateTest(expression, frame);
    case Is::kNot:
      return Value::Bool(!IsTrue(part(0)));
    case Is::kMinus:
      return Negate(part(0));
    case Is::kPlus: {
      const Value value = part(0);
      return value.Is(Kind::kFloat) ? value : Value::Int(IntegerFor(value, "'+'"));
    }
    case Is::kBinary: {
      const Value left = part(0);
      return Calculate(budget_, expression.name, left, part(1));
    }
    case Is::kAnd:
    case Is::kOr: {
      Value left = part(0);
      return IsTrue(left) == (expression.kind == Is::kAnd) ? part(1) : left;
    }
    case Is::kConcat:
      return EvaluateConcat(expression, frame);
    case Is::kCompare:
      return EvaluateCompare(expression, frame);
    case Is::kChoice:
      return EvaluateChoice(expression, frame);
  }
  return Value();
}

Value Evaluator::EvaluateName(const std::string& name, const Frame& frame) {
  budget_.Step(frame.size() / 8);
  if (const Value* const found = frame.Find(name)) {
    reads_namespace_ |= found->Is(Kind::kNamespace);
    return *found;
  }
  const auto given = variables_.values.find(name);
  if (given != variables_.values.end()) return given->second;
  const auto unknown = variables_.unknown.find(name);
  if (unknown != variables_.unknown.end()) Unsupported(unknown->second);
  return kFunctions.contains(name) ? Value::Function(name) : Value::Undefined(name);
}

Value Evaluator::EvaluateItems(const Expression& expression, Frame& frame) {
  std::vector<Value> items;
  for (const ExpressionPtr& part : expression.parts) items.push_back(Evaluate(*part, frame));
  return budget_.Items(expression.kind == Is::kList ? Kind::kList : Kind::kTuple, std::move(items));
}

Value Evaluator::EvaluateMapping(const Expression& expression, Frame& frame) {
  auto mapping = std::make_shared<Mapping>();
  budget_.Make(expression.parts.size() * 2 * sizeof(Value));
  for (size_t i = 0; i < expression.parts.size(); i += 2) {
    const Value key = Evaluate(*expression.parts[i], frame);
    if (!key.IsString()) Unsupported(fmt::format("a key of the kind {}", TypeName(key)));
    mapping->Set(key.text(), Evaluate(*expression.parts[i + 1], frame));
  }
  return Value::Of(std::shared_ptr<const Mapping>(std::move(mapping)));
}

Value Evaluator::EvaluateSlice(const Expression& expression, Frame& frame) {
  Value parts[4] = {Value::None(), Value::None(), Value::None(), Value::None()};
  for (size_t i = 0; i < 4; ++i) {
    if (expression.parts[i] != nullptr) parts[i] = Evaluate(*expression.parts[i], frame);
  }
  return SliceOf(budget_, parts[0], parts[1], parts[2], parts[3]);
}

Value Evaluator::EvaluateChoice(const Expression& expression, Frame& frame) {
  if (IsTrue(Evaluate(*expression.parts[0], frame))) return Evaluate(*expression.parts[1], frame);
  if (expression.parts[2] != nullptr) return Evaluate(*expression.parts[2], frame);
  return Value::Undefined("an `if` without `else`");
}

Value Evaluator::EvaluateConcat(const Expression& expression, Frame& frame) {
  std::string text;
  for (const ExpressionPtr& part : expression.parts) Append(ToText(Evaluate(*part, frame)), text);
  return Value::String(std::move(text));
}

Value Evaluator::EvaluateCompare(const Expression& expression, Frame& frame) {
  Value left = Evaluate(*expression.parts[0], frame);
  for (size_t i = 0; i < expression.signs.size(); ++i) {
    Value right = Evaluate(*expression.parts[i + 1], frame);
    if (!Compare(budget_, expression.signs[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Arguments Evaluator::EvaluateArguments(const Expression& expression, Frame& frame) {
  Arguments arguments;
  for (size_t i = 1; i < expression.parts.size(); ++i)
    arguments.values.push_back(Evaluate(*expression.parts[i], frame));
  for (const auto& [name, value] : expression.named) arguments.named.emplace_back(name, Evaluate(*value, frame));
  return arguments;
}

Value Evaluator::EvaluateTest(const Expression& expression, Frame& frame) {
  const Value value = Evaluate(*expression.parts[0], frame);
  return Value::Bool(PassesTest(budget_, expression.name, value, EvaluateArguments(expression, frame).values));
}

Value Evaluator::Filtered(const Expression* filters, std::string text, Frame& frame) {
  if (filters == nullptr) return Value::String(std::move(text));
  const Value inner = Filtered(filters->parts[0].get(), std::move(text), frame);
  return ApplyFilter(budget_, filters->name, inner, EvaluateArguments(*filters, frame));
}

Value Evaluator::EvaluateCall(const Expression& expression, Frame& frame) {
  const Value callee = Evaluate(*expression.parts[0], frame);
  if (callee.IsUndefined()) WrongValue(fmt::format("'{}' is undefined", callee.text()));
  const Arguments arguments = EvaluateArguments(expression, frame);
  if (callee.Is(Kind::kMacro)) return CallMacro(*callee.macro(), arguments);
  if (callee.Is(Kind::kMethod)) return CallMethod(budget_, callee.method(), arguments);
  if (callee.Is(Kind::kFunction)) return CallFunction(callee.text(), arguments);
  if (callee.Is(Kind::kLoop)) Unsupported("a recursive loop");
  WrongValue(fmt::format("{} cannot be called", TypeName(callee)));
}

Value Evaluator::CallFunction(const std::string& name, const Arguments& arguments) {
  if (name == "range") return RangeOf(budget_, arguments);
  if (name == "dict") return Value::Of(std::shared_ptr<const Mapping>(EntriesOf(budget_, name, arguments)));
  if (name == "namespace") {
    auto names = std::make_shared<Namespace>();
    const std::shared_ptr<Mapping> entries = EntriesOf(budget_, name, arguments);
    for (const auto& [key, value] : entries->entries) names->values[key] = value;
    return Value::Of(std::move(names));
  }
  if (name == "raise_exception") {
    const Bound bound(name, arguments, {"message"});
    throw Failure{Failure::Kind::kRaised, ToText(bound.At(0))};
  }
  std::string what = "strftime_now, which makes the text depend on the day";
  if (!parsed_.date_variable.empty()) {
    what += fmt::format("; write the date in each line: \"chat_template_kwargs\": {{\"{}\": \"...\"}}",
                        parsed_.date_variable);
  }
  Unsupported(what + "; or write the conversation as a text");
}

}  // namespace regroup::chat
