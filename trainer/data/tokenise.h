// A data file to tokens, text by text and in order, with several threads. The result does not depend on their number.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "trainer/data/tokenizer.h"

namespace regroup {

/// Which fields the lines of a data file have: {"text"}, or {"prompt", "completion"}.
enum class DataKind { kTexts, kInstructions };

struct TokeniseProgress {
  int64_t texts = 0;
  int64_t tokens = 0;
  uint64_t bytes_read = 0;
  uint64_t file_bytes = 0;
};

struct TokeniseOptions {
  DataKind kind = DataKind::kTexts;
  /// Reading stops when there are so many; 0 reads the whole file.
  int64_t enough_tokens = 0;
  /// 0 takes OMP_NUM_THREADS, or all cores where that is not set.
  int threads = 0;
  /// Called now and then, on the caller's thread.
  std::function<void(const TokeniseProgress&)> progress;
};

/// A line of the file. Texts are encoded with the tokenizer's own post-processing; an answer follows its prompt without
/// any. The end-of-sequence token is at the end, if the tokenizer has one.
struct TokenisedText {
  std::vector<int32_t> ids;
  /// How many of them are the prompt's; of a plain text 0.
  int64_t prompt = 0;
};

/// Gives every text to `take`, on the caller's thread. Errors: those of the file, its lines, the tokenizer, and `take`.
absl::Status Tokenise(const std::filesystem::path& data, const Tokenizer& tokenizer, const TokeniseOptions& options,
                      const std::function<absl::Status(const TokenisedText&)>& take);

}  // namespace regroup
