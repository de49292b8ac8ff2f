// Translates the patterns of tokenizer.json, which use Oniguruma's Ruby syntax, to PCRE2. The two disagree on \s, \w,
// \h, \v, \b, on quantifiers such as {1,3}+, and on sets within sets (see regex_set.h). Only constructs that tokenizers
// use are translated; others are rejected.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace regroup {

/// Returns a PCRE2 pattern (UTF, UCP, MULTILINE) that matches what `ruby` matches. UNIMPLEMENTED names the construct.
absl::StatusOr<std::string> TranslateRubyRegex(std::string_view ruby);

}  // namespace regroup
