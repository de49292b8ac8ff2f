// tokenizer.json writes its patterns in Oniguruma's Ruby syntax; ours run on PCRE2. The two disagree on \s, \w, \h, \v,
// on quantifiers such as {1,3}+, and on sets within sets. This translates what tokenizers use and refuses the rest.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace regroup {

/// A PCRE2 pattern (UTF, UCP, MULTILINE) that matches what `ruby` does. UNIMPLEMENTED names the construct.
absl::StatusOr<std::string> TranslateRubyRegex(std::string_view ruby);

}  // namespace regroup
