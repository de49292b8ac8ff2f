// Values as Python's json.dumps writes them. One thread.
#pragma once

#include <optional>
#include <string>

#include "trainer/data/chat_template/budget.h"
#include "trainer/data/chat_template/value.h"

namespace regroup::chat {

struct JsonStyle {
  bool only_ascii = false;
  bool sorts_keys = false;
  /// Indent of a level; without a value, all is on one line.
  std::optional<std::string> indent;
  std::string item_separator = ", ", key_separator = ": ";
};

/// Throws Failure for a value that JSON does not have.
std::string JsonText(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace regroup::chat
