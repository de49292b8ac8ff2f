// Checks the text of a section before any stage computes with it. Any thread; every error names key and file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"
#include "trainer/stages/job_text.h"

namespace regroup {

/// Reads the first line of each file, and as many texts as fill a sequence. INVALID_ARGUMENT for a file without a line,
/// and if all texts together do not fill a sequence, or those read are empty; also the errors of Tokenise.
absl::Status CheckText(const JobText& text, const Tokenizer& tokenizer, int64_t sequence_length);

/// Tokenises as many texts as have `enough` tokens, 0 for all, and returns the number of their tokens. A transcript has
/// those of a window.
absl::StatusOr<int64_t> CountTokens(const JobText& text, const Tokenizer& tokenizer, int64_t sequence_length,
                                    int64_t enough);

/// Reads every line and its audio file, without tokenising it, but with conversations rendered by `tokenizer`, and
/// returns the digest of each name's content (DataDigest). Calls `tick` from time to time.
absl::StatusOr<std::vector<std::string>> CheckAllLines(const JobText& text, const Tokenizer& tokenizer,
                                                       const std::function<void()>& tick);

}  // namespace regroup
