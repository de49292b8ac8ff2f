// The tests of Jinja ("is defined" and so on) that chat templates use. One thread.
#pragma once

#include <string>
#include <vector>

#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

/// value is name(arguments)
bool PassesTest(Budget& budget, const std::string& name, const Value& value, const std::vector<Value>& arguments);

}  // namespace regroup::chat
