// Parses a chat template. Pure function, for any thread.
#pragma once

#include <string_view>

#include "trainer/data/chat_template/syntax.h"

namespace regroup::chat {

/// Throws Failure for text that is not a template, and for what the subset of Jinja that this folder knows lacks.
Template Parse(std::string_view source);

}  // namespace regroup::chat
