// Named sets of characters, as Oniguruma defines them and as PCRE2 writes them between brackets: "\\p{L}", "0-9a-fA-F".
// Pure functions and constants, for any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace regroup {

/// The members of \s, of its complement, of \h and of \w between brackets.
extern const std::string_view kSpaceMembers, kNotSpaceMembers, kHexMembers, kWordMembers;
/// The members of \w outside brackets, and of the words that \b borders on.
extern const std::string_view kLoneWordMembers;

/// Returns the members of the POSIX set [:name:]; nothing for a name that is not known.
std::optional<std::string> PosixMembers(std::string_view name);

/// Returns \p{name} or \P{name} (`letter` is p or P) as PCRE2 writes it.
std::string PropertyMembers(char letter, const std::string& name);

/// Returns true if the members are the letters of one case only. Where case is ignored, Oniguruma and PCRE2 disagree on
/// them.
bool DependOnCase(std::string_view members);

}  // namespace regroup
