// The escapes of a string in a chat template, which are those of Python. Pure function, for any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace regroup::chat {

/// Returns the text that a string between its quotes means. Throws Failure for an escape that Python refuses, at
/// `line`.
std::string Unescaped(std::string_view written, int64_t line);

}  // namespace regroup::chat
