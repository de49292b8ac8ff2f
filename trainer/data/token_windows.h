// A data file as windows of tokens: what calibration, fine-tuning and perplexity read.
//
// Each text is encoded with the tokenizer's own post-processing, then followed by the end-of-sequence token if the
// tokenizer has one; all are joined and cut into windows of n tokens without overlap; the last partial window is
// dropped. Immutable once built; any thread may read. The result does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"

namespace regroup {

struct TokenWindowsProgress {
  int64_t texts = 0;
  int64_t tokens = 0;
  uint64_t bytes_read = 0;
  uint64_t file_bytes = 0;
};

struct TokenWindowsOptions {
  /// Tokens of a window, at least 2.
  int64_t sequence_length = 2048;
  /// Windows at most; 0 takes the whole file. Reading stops when there are enough.
  int64_t max_windows = 0;
  /// Threads that tokenise; 0 takes OMP_NUM_THREADS, or all cores where that is not set.
  int threads = 0;
  /// Called now and then, on the thread that builds.
  std::function<void(const TokenWindowsProgress&)> progress;
};

class TokenWindows {
 public:
  /// Errors: those of the file and its lines; INVALID_ARGUMENT if the text does not fill one window.
  static absl::StatusOr<TokenWindows> Build(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                            const TokenWindowsOptions& options);

  /// Number of windows, at least 1.
  int64_t windows() const { return windows_; }
  int64_t sequence_length() const { return sequence_length_; }
  /// The ids of window i, 0 <= i < windows().
  std::span<const int32_t> Window(int64_t i) const;
  /// All windows, row-major [windows, sequence_length].
  const int32_t* data() const { return tokens_.data(); }
  /// Which text each token of window i is of, counted over the whole file from 0.
  std::vector<int64_t> Documents(int64_t i) const;
  /// Texts that were read to fill the windows.
  int64_t texts() const { return texts_; }

 private:
  TokenWindows() = default;
  absl::Status Append(const std::vector<std::string>& texts, const Tokenizer& tokenizer, int threads);
  absl::Status CutToWindows(const std::filesystem::path& data, size_t limit);

  std::vector<int32_t> tokens_;
  /// Place of each text's first token.
  std::vector<int64_t> starts_;
  int64_t windows_ = 0;
  int64_t sequence_length_ = 0;
  int64_t texts_ = 0;
};

}  // namespace regroup
