#include "trainer/data/chat_template/methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/operators.h"
#include "trainer/data/chat_template/text_methods.h"

namespace regroup::chat {
namespace {

using Names = std::set<std::string_view>;

/// Attributes that Python's types have and this folder does not know.
const Names kOtherOfText = {"casefold",     "center",   "encode",    "expandtabs",  "format",    "format_map",
                            "index",        "isalnum",  "isalpha",   "isascii",     "isdecimal", "isdigit",
                            "isidentifier", "islower",  "isnumeric", "isprintable", "isspace",   "istitle",
                            "isupper",      "ljust",    "maketrans", "partition",   "rindex",    "rjust",
                            "rpartition",   "swapcase", "translate", "zfill"};
const Names kOtherOfList = {"append", "clear", "copy", "extend", "insert", "pop", "remove", "reverse", "sort"};
const Names kOtherOfMapping = {"clear", "copy", "fromkeys", "pop", "popitem", "setdefault", "update"};
const Names kOtherOfNumber = {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
                              "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
                              "numerator",        "real",      "to_bytes"};
const Names kOtherOfView = {"isdisjoint", "mapping", "start", "stop", "step", "count", "index"};
const Names kOfList = {"count", "index"};
const Names kOfMapping = {"get", "items", "keys", "values"};
const Names kOfLoop = {"cycle"};
const Names kNone;

std::pair<const Names*, const Names*> NamesOf(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return {&TextMethods(), &kOtherOfText};
    case Kind::kList:
    case Kind::kTuple:
      return {&kOfList, &kOtherOfList};
    case Kind::kMapping:
      return {&kOfMapping, &kOtherOfMapping};
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return {&kNone, &kOtherOfNumber};
    case Kind::kRange:
    case Kind::kView:
      return {&kNone, &kOtherOfView};
    case Kind::kLoop:
      return {&kOfLoop, &kNone};
    default:
      return {&kNone, &kNone};
  }
}

Value ViewOf(Budget& budget, const Mapping& mapping, std::string_view name) {
  std::vector<Value> items;
  budget.Make(mapping.entries.size() * sizeof(Value) * 4);
  for (const auto& [key, value] : mapping.entries) {
    if (name == "values") {
      items.push_back(value);
    } else if (name == "keys") {
      items.push_back(Value::String(key));
    } else {
      items.push_back(Value::Of(Kind::kTuple, {Value::String(key), value}));
    }
  }
  return Value::Of(Kind::kView, std::move(items));
}

Value CallOfMapping(Budget& budget, const Value& self, const std::string& name, const Arguments& arguments) {
  const Mapping& mapping = self.mapping();
  if (name != "get") {
    Bound::ByPlace(name, arguments, {});
    return ViewOf(budget, mapping, name);
  }
  const Bound bound = Bound::ByPlace(name, arguments, {"key", "default"});
  const Value& key = bound.At(0);
  if (!IsHashable(key)) WrongValue("a list or an object cannot be a key");
  if (key.Is(Kind::kMarkup)) Unsupported("a key behind the filter safe");
  const Value* const found = key.IsString() ? mapping.Find(key.text()) : nullptr;
  return found == nullptr ? bound.Or(1, Value::None()) : *found;
}

Value CallOfList(Budget& budget, const Value& self, const std::string& name, const Arguments& arguments) {
  const Bound bound = Bound::ByPlace(name, arguments, {"value"});
  const auto& items = self.items();
  const auto is_it = [&](const Value& each) { return Compare(budget, "==", each, bound.At(0)); };
  if (name == "count") return Value::Int(std::count_if(items.begin(), items.end(), is_it));
  const auto found = std::find_if(items.begin(), items.end(), is_it);
  if (found == items.end()) WrongValue("index() finds no such item");
  return Value::Int(found - items.begin());
}

}  // namespace

std::optional<Value> MethodOf(const Value& value, const std::string& name) {
  const auto [known, others] = NamesOf(value);
  if (others->contains(name) || name.starts_with("__")) {
    Unsupported(fmt::format("the attribute '{}' of {}", name, TypeName(value)));
  }
  if (!known->contains(name)) return std::nullopt;
  return Value::Of(Method{value, name});
}

Value CallMethod(Budget& budget, const Method& method, const Arguments& arguments) {
  const Value& self = method.self;
  if (self.IsString()) return CallTextMethod(budget, self.text(), method.name, arguments);
  if (self.Is(Kind::kMapping)) return CallOfMapping(budget, self, method.name, arguments);
  if (self.IsSequence()) return CallOfList(budget, self, method.name, arguments);
  // loop.cycle
  if (arguments.values.empty() || !arguments.named.empty()) WrongValue("loop.cycle needs values");
  return arguments.values[self.loop().index % arguments.values.size()];
}

}  // namespace regroup::chat
