// A regular expression over UTF-8 text, based on PCRE2 with its just-in-time compiler.
//
// Immutable; any thread may match, several at once.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

struct pcre2_real_code_8;

namespace regroup {

/// Bytes [begin, end) of a text.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

class Regex {
 public:
  /// Compiles a pattern as tokenizer.json writes it (see regex_syntax.h). UNIMPLEMENTED or INVALID_ARGUMENT.
  static absl::StatusOr<Regex> FromRuby(std::string_view pattern);
  /// Compiles a pattern in PCRE2's own syntax.
  static absl::StatusOr<Regex> FromPcre(std::string_view pattern);
  /// Matches exactly `text`.
  static absl::StatusOr<Regex> Literal(std::string_view text);

  /// Returns all matches from left to right, without overlap. A match may be empty, but not where the one before it
  /// ends. `text` must be valid UTF-8. DATA_LOSS with the pattern and the limit if the matcher gives up.
  absl::StatusOr<std::vector<ByteRange>> FindAll(std::string_view text) const;

 private:
  Regex(std::shared_ptr<pcre2_real_code_8> code, std::string pattern)
      : code_(std::move(code)), pattern_(std::move(pattern)) {}
  std::shared_ptr<pcre2_real_code_8> code_;
  std::string pattern_;
};

}  // namespace regroup
