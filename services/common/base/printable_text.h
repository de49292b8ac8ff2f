// Shows text that is not ours as text: what comes from a checkpoint, a data file, a label, a path or another machine
// may hold characters that steer a terminal, begin a line of their own, or reorder and hide what stands beside them.
//
// Pure functions, for any thread.
#pragma once

#include <string>
#include <string_view>

namespace regroup {

/// Returns the text with every character escaped that is not shown as itself: control characters (C0, DEL, C1), line
/// and paragraph separators, marks of direction, and invisible characters. A byte becomes \x1b, a character beyond
/// ASCII \u{202e}, a byte that is not UTF-8 \xff. Tabs stay; each line feed becomes `line_end`.
std::string PrintableText(std::string_view text, std::string_view line_end = "\\n");

/// Returns JSON text with the same characters within its strings as \u escapes: it reads as the same value, and may be
/// shown on a terminal.
std::string PrintableJson(std::string_view json);

}  // namespace regroup
