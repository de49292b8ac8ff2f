#include "trainer/data/chat_template/tests.h"

#include <fmt/format.h>

#include <map>
#include <set>
#include <string_view>

#include "trainer/data/chat_template/expression_parser.h"
#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/operators.h"

namespace regroup::chat {
namespace {

/// Tests that compare with their argument, by the sign of the comparison.
const std::map<std::string_view, std::string_view> kComparisons = {
    {"==", "=="},         {"eq", "=="}, {"equalto", "=="}, {"ne", "!="}, {"lt", "<"},  {"lessthan", "<"},
    {"greaterthan", ">"}, {"gt", ">"},  {"le", "<="},      {"ge", ">="}, {"in", "in"},
};
const std::set<std::string_view> kPlain = {"boolean",  "callable",  "defined", "false",  "float",    "integer",
                                           "iterable", "mapping",   "none",    "number", "sequence", "string",
                                           "true",     "undefined", "even",    "odd"};

bool IsMeasured(const Value& value) {
  return value.IsUndefined() || value.IsString() || value.Is(Kind::kMarkup) || value.Is(Kind::kMapping) ||
         (value.IsSequence() && !value.Is(Kind::kGenerator));
}

/// Tells whether value % divisor is the given number.
bool HasRest(Budget& budget, const Value& value, const Value& divisor, int64_t rest) {
  return AreEqual(Calculate(budget, "%", value, divisor), Value::Int(rest));
}

bool PassesPlain(Budget& budget, const std::string& name, const Value& value) {
  if (name == "defined") return !value.IsUndefined();
  if (name == "undefined") return value.IsUndefined();
  if (name == "none") return value.Is(Kind::kNone);
  if (name == "boolean") return value.Is(Kind::kBool);
  if (name == "true") return value.Is(Kind::kBool) && value.integer() != 0;
  if (name == "false") return value.Is(Kind::kBool) && value.integer() == 0;
  if (name == "integer") return value.Is(Kind::kInt);
  if (name == "float") return value.Is(Kind::kFloat);
  if (name == "number") return value.IsNumber();
  if (name == "string") return value.IsString() || value.Is(Kind::kMarkup);
  if (name == "mapping") return value.Is(Kind::kMapping);
  if (name == "sequence") return IsMeasured(value) && !value.Is(Kind::kView);
  if (name == "iterable") return IsMeasured(value) || value.Is(Kind::kGenerator) || value.Is(Kind::kLoop);
  if (name == "odd" || name == "even") return HasRest(budget, value, Value::Int(2), name == "odd" ? 1 : 0);
  // callable
  return value.IsUndefined() || value.Is(Kind::kMacro) || value.Is(Kind::kMethod) || value.Is(Kind::kFunction) ||
         value.Is(Kind::kLoop);
}

}  // namespace

void CheckTestName(const std::string& name, int64_t line) {
  if (!kPlain.contains(name) && !kComparisons.contains(name) && name != "divisibleby") {
    Unsupported(fmt::format("the test '{}'", name), line);
  }
}

bool PassesTest(Budget& budget, const std::string& name, const Value& value, const std::vector<Value>& arguments) {
  CheckTestName(name, 0);
  const size_t wanted = kPlain.contains(name) ? 0 : 1;
  if (arguments.size() != wanted) WrongValue(fmt::format("the test '{}' takes {} arguments", name, wanted));
  if (wanted == 0) return PassesPlain(budget, name, value);
  if (name != "divisibleby") return Compare(budget, kComparisons.at(name), value, arguments[0]);
  return HasRest(budget, value, arguments[0], 0);
}

}  // namespace regroup::chat
