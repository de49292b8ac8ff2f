// ListFilters.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/chat_template/filters.h"
#include "trainer/data/chat_template/operators.h"
#include "trainer/data/chat_template/python_text.h"
#include "trainer/data/chat_template/tests.h"

namespace regroup::chat {
namespace {

/// Attribute that a filter looks up in each item: "name", "0" or "a.b"; without one, the item itself.
class Lookup {
 public:
  explicit Lookup(const Value& attribute) {
    if (attribute.Is(Kind::kNone)) return;
    if (attribute.IsInteger()) {
      keys_.push_back(attribute);
      return;
    }
    std::string rest = StringFor(attribute, "an attribute");
    if (rest.find(',') != std::string::npos) Unsupported("several attributes");
    while (true) {
      const size_t dot = rest.find('.');
      keys_.push_back(Key(rest.substr(0, dot)));
      if (dot == std::string::npos) return;
      rest.erase(0, dot + 1);
    }
  }

  Value In(Budget& budget, Value item, const std::optional<Value>& otherwise = std::nullopt) const {
    for (const Value& key : keys_) {
      item = ItemOf(budget, item, key);
      if (otherwise && item.IsUndefined()) item = *otherwise;
    }
    return item;
  }

 private:
  static Value Key(const std::string& part) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    const bool is_number = !part.empty() && part[0] != '-' && error == std::errc() && end == part.data() + part.size();
    return is_number ? Value::Int(number) : Value::String(part);
  }

  std::vector<Value> keys_;
};

/// Returns the value that stands for another one in comparisons: a text without its case, unless it counts.
Value Folded(const Value& value, bool case_counts) {
  return value.IsString() && !case_counts ? Value::String(ToLower(value.text())) : value;
}

/// Sorts by keys, which belong to the items.
std::vector<Value> Sorted(Budget& budget, const std::vector<Value>& items, const std::vector<Value>& keys,
                          bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto is_before = [&](size_t a, size_t b) {
    return reverse ? Compare(budget, "<", keys[b], keys[a]) : Compare(budget, "<", keys[a], keys[b]);
  };
  std::stable_sort(order.begin(), order.end(), is_before);
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Value List(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  return budget.Items(Kind::kList, ItemsOf(budget, value));
}

Value Items(Budget&, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  std::vector<Value> items;
  if (value.IsUndefined()) return Value::Of(Kind::kGenerator, {});
  if (!value.Is(Kind::kMapping)) WrongValue(fmt::format("items of {}", TypeName(value)));
  for (const auto& [key, each] : value.mapping().entries) {
    items.push_back(Value::Of(Kind::kTuple, {Value::String(key), each}));
  }
  return Value::Of(Kind::kGenerator, std::move(items));
}

Value FirstOrLast(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  if (name == "last" && value.Is(Kind::kGenerator)) WrongValue("the last item of what can only be read forwards");
  const std::vector<Value> items = ItemsOf(budget, value);
  if (items.empty()) return Value::Undefined(name + " item of nothing");
  return name == "first" ? items.front() : items.back();
}

Value Join(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"d", "attribute"});
  const std::string between = bound.Has(0) ? TextFor(bound.At(0), name) : "";
  const Lookup lookup(bound.Or(1, Value::None()));
  std::string text;
  bool is_first = true;
  for (const Value& item : ItemsOf(budget, value)) {
    const std::string part = TextFor(lookup.In(budget, item), name);
    budget.Make(part.size() + between.size());
    if (!is_first) text += between;
    is_first = false;
    text += part;
  }
  return Value::String(std::move(text));
}

Value Reverse(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  const Value none = Value::None();
  if (value.IsString()) return SliceOf(budget, value, none, none, Value::Int(-1));
  std::vector<Value> items = ItemsOf(budget, value);
  std::reverse(items.begin(), items.end());
  return budget.Items(value.Is(Kind::kGenerator) ? Kind::kList : Kind::kGenerator, std::move(items));
}

Value Sort(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"reverse", "case_sensitive", "attribute"});
  const Lookup lookup(bound.Or(2, Value::None()));
  const std::vector<Value> items = ItemsOf(budget, value);
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(Folded(lookup.In(budget, item), bound.Flag(1, false)));
  return budget.Items(Kind::kList, Sorted(budget, items, keys, bound.Flag(0, false)));
}

Value DictSort(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.Has(1) ? StringFor(bound.At(1), name) : "key";
  if (by != "key" && by != "value") WrongValue("dictsort by something else than 'key' or 'value'");
  if (!value.Is(Kind::kMapping)) WrongValue(fmt::format("dictsort of {}", TypeName(value)));
  std::vector<Value> items, keys;
  for (const auto& [key, each] : value.mapping().entries) {
    items.push_back(Value::Of(Kind::kTuple, {Value::String(key), each}));
    keys.push_back(Folded(by == "key" ? Value::String(key) : each, bound.Flag(0, false)));
  }
  return budget.Items(Kind::kList, Sorted(budget, items, keys, bound.Flag(2, false)));
}

Value Unique(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"case_sensitive", "attribute"});
  const Lookup lookup(bound.Or(1, Value::None()));
  std::vector<Value> items, keys;
  for (const Value& item : ItemsOf(budget, value)) {
    const Value key = Folded(lookup.In(budget, item), bound.Flag(0, false));
    if (!IsHashable(key)) WrongValue("unique of lists or objects");
    const auto is_same = [&](const Value& other) { return Compare(budget, "==", other, key); };
    if (std::any_of(keys.begin(), keys.end(), is_same)) continue;
    keys.push_back(key);
    items.push_back(item);
  }
  return budget.Items(Kind::kGenerator, std::move(items));
}

Value Extreme(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"case_sensitive", "attribute"});
  const Lookup lookup(bound.Or(1, Value::None()));
  std::optional<Value> best, best_key;
  for (const Value& item : ItemsOf(budget, value)) {
    const Value key = Folded(lookup.In(budget, item), bound.Flag(0, false));
    if (best && !Compare(budget, name == "min" ? "<" : ">", key, *best_key)) continue;
    best = item;
    best_key = key;
  }
  return best ? *best : Value::Undefined(name + " of nothing");
}

Value Sum(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  const Bound bound(name, arguments, {"attribute", "start"});
  const Lookup lookup(bound.Or(0, Value::None()));
  Value sum = bound.Or(1, Value::Int(0));
  if (sum.IsString()) WrongValue("sum of texts");
  for (const Value& item : ItemsOf(budget, value)) sum = Calculate(budget, "+", sum, lookup.In(budget, item));
  return sum;
}

Value MapAttribute(Budget& budget, const Value& value, const Arguments& arguments) {
  Arguments named{.named = arguments.named};
  const Bound bound("map", named, {"attribute", "default"});
  const Lookup lookup(bound.At(0));
  std::optional<Value> otherwise;
  if (bound.IsSet(1)) otherwise = bound.At(1);
  std::vector<Value> items;
  for (const Value& item : ItemsOf(budget, value)) items.push_back(lookup.In(budget, item, otherwise));
  return budget.Items(Kind::kGenerator, std::move(items));
}

Value Map(Budget& budget, const std::string&, const Value& value, const Arguments& arguments) {
  if (!IsTrue(value)) return Value::Of(Kind::kGenerator, {});
  if (arguments.values.empty()) return MapAttribute(budget, value, arguments);
  const std::string filter = StringFor(arguments.values[0], "map");
  Arguments rest{.values = {arguments.values.begin() + 1, arguments.values.end()}, .named = arguments.named};
  std::vector<Value> items;
  for (const Value& item : ItemsOf(budget, value)) items.push_back(ApplyFilter(budget, filter, item, rest));
  return budget.Items(Kind::kGenerator, std::move(items));
}

/// select, reject, selectattr and rejectattr.
Value Select(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  if (!IsTrue(value)) return Value::Of(Kind::kGenerator, {});
  if (!arguments.named.empty()) Unsupported(fmt::format("{} with named arguments", name));
  const bool by_attribute = name.ends_with("attr"), keeps = name.starts_with("select");
  std::vector<Value> rest = arguments.values;
  Value attribute = Value::None();
  if (by_attribute) {
    if (rest.empty()) WrongValue(fmt::format("{} needs an attribute", name));
    attribute = rest[0];
    rest.erase(rest.begin());
  }
  const Lookup lookup(attribute);
  std::optional<std::string> test;
  if (!rest.empty()) {
    test = StringFor(rest[0], name);
    rest.erase(rest.begin());
  }
  std::vector<Value> items;
  for (const Value& item : ItemsOf(budget, value)) {
    const Value looked_up = lookup.In(budget, item);
    if ((test ? PassesTest(budget, *test, looked_up, rest) : IsTrue(looked_up)) == keeps) items.push_back(item);
  }
  return budget.Items(Kind::kGenerator, std::move(items));
}

}  // namespace

const Filters& ListFilters() {
  static const Filters kFilters = {
      {"dictsort", DictSort}, {"first", FirstOrLast}, {"items", Items},   {"join", Join},         {"last", FirstOrLast},
      {"list", List},         {"map", Map},           {"max", Extreme},   {"min", Extreme},       {"reject", Select},
      {"rejectattr", Select}, {"reverse", Reverse},   {"select", Select}, {"selectattr", Select}, {"sort", Sort},
      {"sum", Sum},           {"unique", Unique},
  };
  return kFilters;
}

}  // namespace regroup::chat
