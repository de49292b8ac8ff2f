// The filters of Jinja that chat templates use. One thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "trainer/data/chat_template/arguments.h"
#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

/// value | name(arguments)
Value ApplyFilter(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments);

using Filter = Value (*)(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments);
using Filters = std::map<std::string_view, Filter>;

/// Those that return a text or a number.
const Filters& ScalarFilters();
/// Those that work on lists.
const Filters& ListFilters();

}  // namespace regroup::chat
