#include "trainer/data/chat_template/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "trainer/data/chat_template/failure.h"

namespace regroup::chat {
namespace {

/// Above this, a JSON number without a fraction may be an integer that a double does not keep.
constexpr double kLargestExact = 9.0e15;

template <typename Object>
const Object& As(const std::shared_ptr<const void>& object) {
  return *static_cast<const Object*>(object.get());
}

int Nested(int depth) {
  if (depth > kMaxValueDepth) Unsupported("lists or objects nest too deeply");
  return depth;
}

/// Adds without wrapping around: lists that hold another one twice grow beyond all numbers.
size_t Sum(size_t left, size_t right) { return std::min(left + right, size_t{1} << 62); }

bool HaveEqualItems(const std::vector<Value>& left, const std::vector<Value>& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), AreEqual);
}

bool HaveEqualEntries(const Mapping& left, const Mapping& right) {
  if (left.entries.size() != right.entries.size()) return false;
  return std::all_of(left.entries.begin(), left.entries.end(), [&right](const auto& entry) {
    const Value* const other = right.Find(entry.first);
    return other != nullptr && AreEqual(entry.second, *other);
  });
}

bool IsText(const Value& value) { return value.IsString() || value.Is(Kind::kMarkup); }

/// Compares an integer with a double as Python does, without rounding the integer.
int CompareExactly(int64_t integer, double number) {
  if (std::isnan(number)) return 2;
  if (number >= 9223372036854775808.0) return -1;
  if (number < -9223372036854775808.0) return 1;
  const auto whole = static_cast<int64_t>(number);
  if (integer != whole) return integer < whole ? -1 : 1;
  const double rest = number - static_cast<double>(whole);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

/// Returns -1, 0 or 1, and 2 for what is not comparable (NaN).
int CompareNumbers(const Value& left, const Value& right) {
  if (left.IsInteger() && right.IsInteger()) {
    return left.integer() < right.integer() ? -1 : left.integer() > right.integer() ? 1 : 0;
  }
  if (left.IsInteger()) return CompareExactly(left.integer(), right.number());
  if (right.IsInteger()) {
    const int reversed = CompareExactly(right.integer(), left.number());
    return reversed == 2 ? 2 : -reversed;
  }
  const double a = left.number(), b = right.number();
  return a < b ? -1 : a > b ? 1 : a == b ? 0 : 2;
}

}  // namespace

Value Value::Undefined(std::string name) {
  Value result;
  result.object_ = std::make_shared<const std::string>(std::move(name));
  return result;
}

Value Value::Bool(bool value) {
  Value result(Kind::kBool);
  result.integer_ = value ? 1 : 0;
  return result;
}

Value Value::Int(int64_t value) {
  Value result(Kind::kInt);
  result.integer_ = value;
  return result;
}

Value Value::Float(double value) {
  Value result(Kind::kFloat);
  result.number_ = value;
  return result;
}

Value Value::String(std::string text) {
  Value result(Kind::kString);
  result.object_ = std::make_shared<const std::string>(std::move(text));
  return result;
}

Value Value::Markup(std::string text) {
  Value result = String(std::move(text));
  result.kind_ = Kind::kMarkup;
  return result;
}

Value Value::Of(Kind kind, std::vector<Value> items) {
  auto sequence = std::make_shared<Sequence>();
  int depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
    sequence->weight = Sum(sequence->weight, item.weight());
  }
  sequence->depth = Nested(depth + 1);
  sequence->items = std::move(items);
  Value result(kind);
  result.object_ = std::move(sequence);
  return result;
}

Value Value::Of(std::shared_ptr<const Mapping> mapping) {
  Nested(mapping->depth);
  Value result(Kind::kMapping);
  result.object_ = std::move(mapping);
  return result;
}

Value Value::Of(std::shared_ptr<Namespace> names) {
  Value result(Kind::kNamespace);
  result.object_ = std::move(names);
  return result;
}

Value Value::Of(Method method) {
  Value result(Kind::kMethod);
  if (!method.self.Is(Kind::kLoop)) Nested(method.self.depth() + 1);
  result.object_ = std::make_shared<const Method>(std::move(method));
  return result;
}

Value Value::Of(std::shared_ptr<Loop> loop) {
  Value result(Kind::kLoop);
  result.object_ = std::move(loop);
  return result;
}

Value Value::Macro(const Statement* macro) {
  Value result(Kind::kMacro);
  result.macro_ = macro;
  return result;
}

Value Value::Function(std::string name) {
  Value result = String(std::move(name));
  result.kind_ = Kind::kFunction;
  return result;
}

Value Value::FromJson(const nlohmann::ordered_json& json) {
  if (json.is_null()) return None();
  if (json.is_boolean()) return Bool(json.get<bool>());
  if (json.is_string()) return String(json.get<std::string>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX}) Unsupported("an integer is too large");
  if (json.is_number_integer()) return Int(json.get<int64_t>());
  if (json.is_number()) {
    const auto number = json.get<double>();
    if (std::abs(number) > kLargestExact) Unsupported(fmt::format("the number {} is too large", number));
    return Float(number);
  }
  if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.size());
    for (const auto& item : json) items.push_back(FromJson(item));
    return Of(Kind::kList, std::move(items));
  }
  auto mapping = std::make_shared<Mapping>();
  for (const auto& [key, value] : json.items()) mapping->Set(key, FromJson(value));
  return Of(std::shared_ptr<const Mapping>(std::move(mapping)));
}

const std::string& Value::text() const {
  static const std::string kEmpty;
  return object_ == nullptr ? kEmpty : As<std::string>(object_);
}
const std::vector<Value>& Value::items() const { return As<Sequence>(object_).items; }

const std::vector<Value>& Value::TakeItems() const {
  const auto& sequence = As<Sequence>(object_);
  if (kind_ == Kind::kGenerator) {
    if (sequence.is_read) Unsupported("what a filter such as map or select returns is read twice; add the filter list");
    sequence.is_read = true;
  }
  return sequence.items;
}

const Mapping& Value::mapping() const { return As<Mapping>(object_); }
Namespace& Value::names() const { return const_cast<Namespace&>(As<Namespace>(object_)); }
const Method& Value::method() const { return As<Method>(object_); }
Loop& Value::loop() const { return const_cast<Loop&>(As<Loop>(object_)); }

int Value::depth() const {
  if (IsSequence()) return As<Sequence>(object_).depth;
  if (kind_ == Kind::kMapping) return mapping().depth;
  if (kind_ == Kind::kMethod && !method().self.Is(Kind::kLoop)) return method().self.depth() + 1;
  // A namespace that holds itself would never end.
  if (kind_ == Kind::kNamespace) Unsupported("a namespace within another value");
  if (kind_ == Kind::kLoop || kind_ == Kind::kMethod) Unsupported("the variable loop within another value");
  return 0;
}

size_t Value::weight() const {
  if (IsSequence()) return As<Sequence>(object_).weight;
  if (kind_ == Kind::kMapping) return mapping().weight;
  return IsString() ? 1 + text().size() / 64 : 1;
}

void Mapping::Set(const std::string& key, Value value) {
  depth = std::max(depth, value.depth() + 1);
  weight = Sum(weight, 1 + key.size() / 64 + value.weight());
  const auto [place, is_new] = places.try_emplace(key, entries.size());
  if (is_new) {
    entries.emplace_back(key, std::move(value));
  } else {
    entries[place->second].second = std::move(value);
  }
}

const Value* Mapping::Find(const std::string& key) const {
  const auto found = places.find(key);
  return found == places.end() ? nullptr : &entries[found->second].second;
}

std::string_view TypeName(const Value& value) {
  constexpr std::string_view kNames[] = {"undefined", "None",      "bool",  "int",    "float",    "str",
                                         "Markup",    "list",      "tuple", "range",  "view",     "generator",
                                         "dict",      "namespace", "macro", "method", "function", "loop"};
  return kNames[static_cast<size_t>(value.kind())];
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    case Kind::kString:
    case Kind::kMarkup:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return !value.items().empty();
    case Kind::kMapping:
      return !value.mapping().entries.empty();
    default:
      return true;
  }
}

bool IsHashable(const Value& value) {
  if (!value.Is(Kind::kTuple)) return !value.Is(Kind::kList) && !value.Is(Kind::kMapping);
  return std::all_of(value.items().begin(), value.items().end(), IsHashable);
}

bool AreEqual(const Value& left, const Value& right) {
  if (left.IsNumber() && right.IsNumber()) return CompareNumbers(left, right) == 0;
  if (IsText(left) && IsText(right)) return left.text() == right.text();
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return HaveEqualItems(left.items(), right.items());
    case Kind::kMapping:
      return HaveEqualEntries(left.mapping(), right.mapping());
    case Kind::kMacro:
      return left.macro() == right.macro();
    default:
      Unsupported(fmt::format("comparing two values of the kind {}", TypeName(left)));
  }
}

bool IsLess(const Value& left, const Value& right) {
  if (left.IsNumber() && right.IsNumber()) return CompareNumbers(left, right) == -1;
  if (IsText(left) && IsText(right)) return left.text() < right.text();
  const bool have_items = left.kind() == right.kind() && (left.Is(Kind::kList) || left.Is(Kind::kTuple));
  if (!have_items) WrongValue(fmt::format("{} and {} have no order", TypeName(left), TypeName(right)));
  const auto &a = left.items(), &b = right.items();
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (!AreEqual(a[i], b[i])) return IsLess(a[i], b[i]);
  }
  return a.size() < b.size();
}

}  // namespace regroup::chat
