// A data file as windows of tokens: what calibration, fine-tuning and perplexity read.
//
// Texts are joined and cut into windows of n tokens without overlap; the last partial window is dropped. Instructions
// are not cut: as many whole ones as fit, in their order, share a window, and zeros fill what is left; of one that is
// longer than a window, the end is left out. Immutable once built; any thread may read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/token_store.h"
#include "trainer/data/tokenise.h"

namespace regroup {

struct TokenWindowsOptions {
  /// Tokens of a window, at least 2.
  int64_t sequence_length = 2048;
  /// Windows at most; 0 takes the whole file. Reading stops when there are enough.
  int64_t max_windows = 0;
  /// See TokeniseOptions.
  int threads = 0;
  std::function<void(const TokeniseProgress&)> progress = {};
  DataKind kind = DataKind::kTexts;
};

/// The tokens that are enough for the options, 0 for all. INVALID_ARGUMENT for an impossible length or number.
absl::StatusOr<int64_t> EnoughTokens(const TokenWindowsOptions& options);

class TokenWindows {
 public:
  /// Tokenises into memory. Errors: those of Tokenise and Cut.
  static absl::StatusOr<TokenWindows> Build(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                            const TokenWindowsOptions& options);
  /// Windows of the tokens of `data`. INVALID_ARGUMENT if they do not fill one window, or hold no answer where they are
  /// instructions.
  static absl::StatusOr<TokenWindows> Cut(TokenStore store, const std::filesystem::path& data,
                                          const TokenWindowsOptions& options);

  /// Number of windows, at least 1.
  int64_t windows() const { return windows_; }
  int64_t sequence_length() const { return sequence_length_; }
  /// The ids of window i, 0 <= i < windows().
  std::vector<int32_t> Window(int64_t i) const;
  /// The same, to `ids`.
  void Copy(int64_t i, int64_t* ids) const;
  /// Which text each token of window i is of, counted over the whole file from 0; of filling zeros the number of texts.
  std::vector<int64_t> Documents(int64_t i) const;
  /// Places in window i behind which stands a token of an answer, of the same text: what `bild` learns from.
  std::vector<int64_t> AnswerPlaces(int64_t i) const;
  bool has_answers() const { return store_.has_answers(); }
  /// Texts that were read to fill the windows.
  int64_t texts() const { return store_.texts(); }
  /// Addresses the tokens that the windows are of.
  const std::string& digest() const { return store_.digest(); }

 private:
  /// A text in a window.
  struct Piece {
    int64_t text = 0;
    /// In the window.
    int64_t place = 0;
    /// Of its first token among all.
    int64_t first = 0;
    int64_t count = 0;
  };

  explicit TokenWindows(TokenStore store) : store_(std::move(store)) {}
  absl::Status CutTexts(const std::filesystem::path& data, int64_t max_windows);
  absl::Status PackInstructions(const std::filesystem::path& data, int64_t max_windows);
  std::vector<Piece> PiecesOf(int64_t i) const;

  TokenStore store_;
  int64_t windows_ = 0;
  int64_t sequence_length_ = 0;
  /// Of instructions: the first text of each window, and the one behind the last window.
  std::vector<int64_t> first_texts_;
};

}  // namespace regroup
