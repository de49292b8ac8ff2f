// The methods of Python's values that chat templates call. One thread.
#pragma once

#include <optional>
#include <string>

#include "trainer/data/chat_template/arguments.h"
#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

/// Returns the method of that name; nothing if Python's type has no such attribute. Throws Failure for an attribute
/// that it has and this folder does not know.
std::optional<Value> MethodOf(const Value& value, const std::string& name);
Value CallMethod(Budget& budget, const Method& method, const Arguments& arguments);

}  // namespace regroup::chat
