#include "trainer/data/chat_template/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/methods.h"
#include "trainer/data/chat_template/python_text.h"

namespace regroup::chat {
namespace {

Value CharacterAt(Budget& budget, const std::string& text, int64_t index) {
  budget.Step(text.size() / 16);
  const auto characters = Characters(text);
  const auto count = static_cast<int64_t>(characters.size());
  if (index < 0) index += count;
  if (index < 0 || index >= count) return Value::Undefined("an item beyond the end");
  return Value::String(std::string(characters[static_cast<size_t>(index)]));
}

Value LoopAttribute(const Loop& loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop.index), count = static_cast<int64_t>(loop.items->size());
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "revindex") return Value::Int(count - index);
  if (name == "revindex0") return Value::Int(count - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index == count - 1);
  if (name == "length") return Value::Int(count);
  if (name == "depth") return Value::Int(1);
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem")
    return index > 0 ? (*loop.items)[loop.index - 1] : Value::Undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < count ? (*loop.items)[loop.index + 1] : Value::Undefined("there is no next item");
  Unsupported(fmt::format("the attribute 'loop.{}'", name));
}

/// Returns an item of a value that Python can index, or nothing where it raises TypeError or LookupError.
Value Indexed(Budget& budget, const Value& value, const Value& key) {
  const Value missing = Value::Undefined(key.IsString() ? key.text() : "an item");
  if (value.Is(Kind::kMapping)) {
    const Value* const found = key.IsString() ? value.mapping().Find(key.text()) : nullptr;
    return found == nullptr ? missing : *found;
  }
  if (!key.IsInteger()) return missing;
  if (value.IsString()) return CharacterAt(budget, value.text(), key.integer());
  if (!value.Is(Kind::kList) && !value.Is(Kind::kTuple) && !value.Is(Kind::kRange)) return missing;
  const auto& items = value.items();
  const auto count = static_cast<int64_t>(items.size());
  const int64_t index = key.integer() < 0 ? key.integer() + count : key.integer();
  return index < 0 || index >= count ? missing : items[static_cast<size_t>(index)];
}

void RefuseOpaque(const Value& value) {
  const bool is_opaque = value.Is(Kind::kMarkup) || value.Is(Kind::kMacro) || value.Is(Kind::kMethod) ||
                         value.Is(Kind::kFunction) || value.Is(Kind::kGenerator);
  if (is_opaque) Unsupported(fmt::format("an attribute or item of a value of the kind {}", TypeName(value)));
  if (value.IsUndefined()) WrongValue(fmt::format("'{}' is undefined", value.text()));
}

std::optional<Value> NamespaceAttribute(const Value& value, const std::string& name) {
  const auto& values = value.names().values;
  const auto found = values.find(name);
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

/// An attribute as Python finds it, without the items of a mapping.
std::optional<Value> PythonAttribute(const Value& value, const std::string& name) {
  if (value.Is(Kind::kNamespace)) return NamespaceAttribute(value, name);
  if (value.Is(Kind::kLoop) && name != "cycle") return LoopAttribute(value.loop(), name);
  return MethodOf(value, name);
}

/// Python's slice.indices(): the first index, the end, and the step.
struct Span {
  int64_t begin, end, step;
};

int64_t Clamped(const Value& bound, int64_t otherwise, int64_t count, int64_t low, int64_t high) {
  if (bound.Is(Kind::kNone)) return otherwise;
  int64_t index = IntegerFor(bound, "a slice");
  if (index < 0) index = std::max(index, -count - 1) + count;
  return std::clamp(index, low, high);
}

Span SpanOf(size_t length, const Value& begin, const Value& end, const Value& step_value) {
  const auto count = static_cast<int64_t>(length);
  int64_t step = step_value.Is(Kind::kNone) ? 1 : IntegerFor(step_value, "a slice");
  if (step == 0) WrongValue("the step of a slice is 0");
  step = std::clamp<int64_t>(step, -(int64_t{1} << 40), int64_t{1} << 40);
  if (step > 0) return {Clamped(begin, 0, count, 0, count), Clamped(end, count, count, 0, count), step};
  return {Clamped(begin, count - 1, count, -1, count - 1), Clamped(end, -1, count, -1, count - 1), step};
}

template <typename Items, typename Take>
void ForEachOf(const Items& items, const Span& span, Take take) {
  for (int64_t i = span.begin; span.step > 0 ? i < span.end : i > span.end; i += span.step) {
    take(items[static_cast<size_t>(i)]);
  }
}

}  // namespace

std::string TextFor(const Value& value, std::string_view operation) {
  if (value.Is(Kind::kMarkup)) Unsupported(fmt::format("{} behind the filter safe", operation));
  return ToText(value);
}

const std::string& StringFor(const Value& value, std::string_view operation) {
  if (value.Is(Kind::kMarkup)) Unsupported(fmt::format("{} behind the filter safe", operation));
  if (!value.IsString()) WrongValue(fmt::format("{} needs a text, not {}", operation, TypeName(value)));
  return value.text();
}

int64_t IntegerFor(const Value& value, std::string_view operation) {
  if (!value.IsInteger()) WrongValue(fmt::format("{} needs an integer, not {}", operation, TypeName(value)));
  return value.integer();
}

bool Contains(Budget& budget, const Value& container, const Value& item) {
  if (container.IsUndefined()) return false;
  if (container.IsString() || container.Is(Kind::kMarkup)) {
    budget.Step(container.text().size() / 64);
    if (!item.IsString() && !item.Is(Kind::kMarkup))
      WrongValue(fmt::format("'in' a text needs a text, not {}", TypeName(item)));
    return Find(container.text(), item.text()) != std::string::npos;
  }
  if (container.Is(Kind::kMapping)) {
    if (item.Is(Kind::kMarkup)) Unsupported("'in' behind the filter safe");
    if (!IsHashable(item)) WrongValue("a list or an object cannot be a key");
    return item.IsString() && container.mapping().Find(item.text()) != nullptr;
  }
  if (!container.IsSequence()) WrongValue(fmt::format("'in' needs a list, not {}", TypeName(container)));
  const auto& items = container.TakeItems();
  return std::any_of(items.begin(), items.end(), [&](const Value& each) { return Compare(budget, "==", each, item); });
}

bool Compare(Budget& budget, std::string_view sign, const Value& left, const Value& right) {
  if (sign == "in") return Contains(budget, right, left);
  if (sign == "not in") return !Contains(budget, right, left);
  budget.Step(left.weight());
  if (sign == "==") return AreEqual(left, right);
  if (sign == "!=") return !AreEqual(left, right);
  for (const Value* value : {&left, &right}) {
    if (value->IsUndefined()) WrongValue(fmt::format("'{}' is undefined", value->text()));
  }
  if (sign == "<") return IsLess(left, right);
  if (sign == ">") return IsLess(right, left);
  if (sign == "<=") return IsLess(left, right) || AreEqual(left, right);
  return IsLess(right, left) || AreEqual(left, right);
}

std::vector<Value> ItemsOf(Budget& budget, const Value& value) {
  std::vector<Value> items;
  if (value.IsUndefined()) return items;
  if (value.IsSequence()) {
    budget.Make(value.items().size() * sizeof(Value));
    return value.TakeItems();
  }
  if (value.IsString()) {
    budget.Make(value.text().size() * sizeof(Value));
    for (const std::string_view character : Characters(value.text()))
      items.push_back(Value::String(std::string(character)));
    return items;
  }
  if (value.Is(Kind::kMarkup) || value.Is(Kind::kLoop)) Unsupported(fmt::format("going through a {}", TypeName(value)));
  if (!value.Is(Kind::kMapping)) WrongValue(fmt::format("{} has no items to go through", TypeName(value)));
  budget.Make(value.mapping().entries.size() * sizeof(Value));
  for (const auto& [key, each] : value.mapping().entries) items.push_back(budget.Text(key));
  return items;
}

size_t LengthOf(Budget& budget, const Value& value) {
  if (value.IsUndefined()) return 0;
  if (value.IsString() || value.Is(Kind::kMarkup)) {
    budget.Step(value.text().size() / 64);
    return CountCharacters(value.text());
  }
  if (value.IsSequence() && !value.Is(Kind::kGenerator)) return value.items().size();
  if (value.Is(Kind::kMapping)) return value.mapping().entries.size();
  if (value.Is(Kind::kLoop)) return value.loop().items->size();
  WrongValue(fmt::format("{} has no length", TypeName(value)));
}

Value AttributeOf(Budget& budget, const Value& value, const std::string& name) {
  RefuseOpaque(value);
  if (std::optional<Value> found = PythonAttribute(value, name)) return *std::move(found);
  return Indexed(budget, value, Value::String(name));
}

Value ItemOf(Budget& budget, const Value& value, const Value& key) {
  RefuseOpaque(value);
  if (key.Is(Kind::kMarkup)) Unsupported("a key behind the filter safe");
  if (value.Is(Kind::kMapping) || !key.IsString()) {
    Value found = Indexed(budget, value, key);
    if (!found.IsUndefined() || !key.IsString() || value.mapping().Find(key.text()) != nullptr) return found;
  }
  if (std::optional<Value> found = PythonAttribute(value, key.text())) return *std::move(found);
  return Value::Undefined(key.text());
}

Value SliceOf(Budget& budget, const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (value.Is(Kind::kMarkup)) Unsupported("a slice behind the filter safe");
  if (value.IsString()) {
    budget.Make(value.text().size());
    const auto characters = Characters(value.text());
    std::string text;
    ForEachOf(characters, SpanOf(characters.size(), begin, end, step), [&](std::string_view each) { text += each; });
    return Value::String(std::move(text));
  }
  if (!value.Is(Kind::kList) && !value.Is(Kind::kTuple) && !value.Is(Kind::kRange)) {
    // Where all of it is constant, Jinja takes such a slice for undefined.
    if (value.IsUndefined()) WrongValue(fmt::format("'{}' is undefined", value.text()));
    Unsupported(fmt::format("a slice of {}", TypeName(value)));
  }
  std::vector<Value> items;
  ForEachOf(value.items(), SpanOf(value.items().size(), begin, end, step),
            [&](const Value& each) { items.push_back(each); });
  return budget.Items(value.kind(), std::move(items));
}

}  // namespace regroup::chat
