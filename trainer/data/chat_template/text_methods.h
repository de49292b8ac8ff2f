// The methods of Python's str. One thread.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "trainer/data/chat_template/arguments.h"
#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

/// The names of the methods that CallTextMethod knows.
const std::set<std::string_view>& TextMethods();
Value CallTextMethod(Budget& budget, const std::string& self, const std::string& name, const Arguments& arguments);

/// self.replace(old, replacement, count); all if `count` is negative.
Value Replace(Budget& budget, std::string_view self, std::string_view old, std::string_view replacement, int64_t count);
/// self.splitlines()
std::vector<std::string_view> Lines(std::string_view self);
/// self.capitalize()
std::string Capitalized(std::string_view self);

}  // namespace regroup::chat
