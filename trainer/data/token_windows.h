// Cuts a data file into windows of tokens, which calibration, fine-tuning and perplexity read.
//
// Texts are joined and cut into windows of n tokens without overlap; the last partial window is dropped. Instructions
// are not cut: each window takes as many whole ones as fit, in their order, and is padded with zeros. An instruction
// that is longer than a window loses its end. A transcript is a window of its own, with its audio (TokenisedText).
// Immutable once built; any thread may read.
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
  /// Tokens per window, at least 2.
  int64_t sequence_length = 2048;
  /// Maximum number of windows; 0 takes the whole file. Reading stops when there are enough.
  int64_t max_windows = 0;
  /// See TokeniseOptions.
  int threads = 0;
  std::function<void(const TokeniseProgress&)> progress = {};
  DataKind kind = DataKind::kTexts;
  std::string field = "text";
  /// Only for transcripts, whose windows have `sequence_length` entries with the spectrogram.
  TranscriptShape transcript = {};
};

/// Returns the number of tokens that is enough for the options, 0 for all. INVALID_ARGUMENT for an impossible length or
/// number.
absl::StatusOr<int64_t> EnoughTokens(const TokenWindowsOptions& options);

/// Returns the error of texts that do not fill one sequence; `data` says which.
absl::Status TooFewTokens(const std::string& data, int64_t tokens, int64_t sequence_length);

class TokenWindows {
 public:
  /// Tokenises one file into memory. Returns the errors of Tokenise and Cut.
  static absl::StatusOr<TokenWindows> Build(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                            const TokenWindowsOptions& options);
  /// Cuts the tokens of `data`, a file or what an error should name, into windows. INVALID_ARGUMENT if they do not fill
  /// one window, or if instructions contain no answer.
  static absl::StatusOr<TokenWindows> Cut(TokenStore store, const std::string& data,
                                          const TokenWindowsOptions& options);

  /// Returns the number of windows, at least 1.
  int64_t windows() const { return windows_; }
  int64_t sequence_length() const { return sequence_length_; }
  /// Returns the ids of window i, 0 <= i < windows().
  std::vector<int32_t> Window(int64_t i) const;
  /// Writes the same ids to `ids`.
  void Copy(int64_t i, int64_t* ids) const;
  /// Returns the number of the text that each token of window i belongs to, counted over the whole file from 0; padding
  /// has the number of texts.
  std::vector<int64_t> Documents(int64_t i) const;
  /// Returns the positions in window i whose next token belongs to an answer of the same text; `bild` learns from
  /// these. For a transcript these are its tokens, counted from the first one that the model predicts.
  std::vector<int64_t> AnswerPlaces(int64_t i) const;
  /// Returns true if only AnswerPlaces are learned.
  bool has_answers() const { return store_.has_answers() || transcript_tokens_ > 0; }
  /// Returns the number of places among which AnswerPlaces counts.
  int64_t places() const { return transcript_tokens_ > 0 ? transcript_tokens_ : sequence_length_; }
  /// Number of texts read to fill the windows.
  int64_t texts() const { return store_.texts(); }
  /// Returns the SHA-256 of the windows' tokens and of how texts follow one another in them. It does not depend on how
  /// much text comes after the last window. Reads all windows.
  std::string Digest() const;
  /// Identifies all tokens that were read, also those behind the last window.
  const std::string& store_digest() const { return store_.digest(); }

 private:
  /// The part of a window that one text fills.
  struct Piece {
    int64_t text = 0;
    /// Position in the window.
    int64_t place = 0;
    /// Position of its first token in the store.
    int64_t first = 0;
    int64_t count = 0;
  };

  explicit TokenWindows(TokenStore store) : store_(std::move(store)) {}
  absl::Status CutTexts(const std::string& data, int64_t max_windows);
  absl::Status PackInstructions(const std::string& data, int64_t max_windows);
  std::vector<Piece> PiecesOf(int64_t i) const;

  TokenStore store_;
  int64_t windows_ = 0;
  int64_t sequence_length_ = 0;
  /// 0 for other kinds of data.
  int64_t transcript_tokens_ = 0;
  /// For instructions: the first text of each window, and the text after the last window.
  std::vector<int64_t> first_texts_;
};

}  // namespace regroup
