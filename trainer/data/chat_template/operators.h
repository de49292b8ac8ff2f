// The operations of expressions in chat templates. Each throws Failure where Python or Jinja does. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

/// left sign right, for the signs + - * / // % **.
Value Calculate(Budget& budget, std::string_view sign, const Value& left, const Value& right);
Value Negate(const Value& value);
/// left sign right, for comparisons and "in" and "not in".
bool Compare(Budget& budget, std::string_view sign, const Value& left, const Value& right);
/// "in"
bool Contains(Budget& budget, const Value& container, const Value& item);

/// Returns what a loop goes through: the items of a sequence, the keys of a mapping, the characters of a text.
std::vector<Value> ItemsOf(Budget& budget, const Value& value);
/// Returns the number of these items; fails for what has none in Python.
size_t LengthOf(Budget& budget, const Value& value);

/// value.name
Value AttributeOf(Budget& budget, const Value& value, const std::string& name);
/// value[key]
Value ItemOf(Budget& budget, const Value& value, const Value& key);
/// value[begin:end:step]; each bound may be None.
Value SliceOf(Budget& budget, const Value& value, const Value& begin, const Value& end, const Value& step);

/// Returns the text of a value that an operation changes: a string, or what Python's str() returns. Fails for markup,
/// which would escape what is put to it.
std::string TextFor(const Value& value, std::string_view operation);
/// Returns the text of a string; fails for another kind.
const std::string& StringFor(const Value& value, std::string_view operation);
/// Returns an int or bool; fails for another kind.
int64_t IntegerFor(const Value& value, std::string_view operation);

}  // namespace regroup::chat
