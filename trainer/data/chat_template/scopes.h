// Decides which variables of a chat template are undefined at the start of a scope.
//
// Jinja compiles a scope's variables in advance: a scope that assigns a name before it reads it starts with the name
// undefined, also where the conversation has a variable of that name. One that reads it first starts with what the
// scopes around it, or the conversation, hold. Pure functions, for any thread.
#pragma once

#include "trainer/data/chat_template/syntax.h"

namespace regroup::chat {

/// Sets `blanks` of every scope of the template, `uses_loop` of every loop, and `date_variable`.
void ResolveScopes(Template& parsed);

}  // namespace regroup::chat
