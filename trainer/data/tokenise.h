// Tokenises data files text by text and in order, with several threads. The result does not depend on their number.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/data/audio/log_mel.h"
#include "trainer/data/tokenizer.h"

namespace regroup {

/// Fields of a data file's lines: {"text"}, {"prompt", "completion"}, or {"audio", "text"}.
enum class DataKind { kTexts, kInstructions, kTranscripts };

/// Sizes of a line's window for a model that reads audio.
struct TranscriptShape {
  SpectrogramShape spectrogram;
  /// Tokens of a transcript; a longer one loses its end.
  int64_t tokens = 0;
  /// The token with which the decoder begins. It is not part of a transcript, also if the tokenizer adds it.
  int32_t start_token = 0;
};

struct TokeniseProgress {
  int64_t texts = 0;
  int64_t tokens = 0;
  uint64_t bytes_read = 0;
  uint64_t file_bytes = 0;
};

struct TokeniseOptions {
  DataKind kind = DataKind::kTexts;
  /// Only for transcripts.
  TranscriptShape transcript;
  /// The field with the text; instructions have fields of their own.
  std::string field = "text";
  /// Reading stops at this number of tokens; 0 reads the whole file.
  int64_t enough_tokens = 0;
  /// If false, reading stops there, and no digest is returned.
  bool digests = true;
  /// 0 takes OMP_NUM_THREADS, or all cores if that is not set.
  int threads = 0;
  /// Called from time to time, on the caller's thread.
  std::function<void(const TokeniseProgress&)> progress;
};

/// The tokens of one line. Texts are encoded with the tokenizer's own post-processing; an answer follows its prompt
/// without any. The end-of-sequence token comes last, if the tokenizer has one. A conversation has the tokens that its
/// template writes, and no others. For a transcript the ids are a whole window: the bits of the spectrogram's float32
/// values, the tokens, and -1 behind them.
struct TokenisedText {
  std::vector<int32_t> ids;
  /// Number of ids that belong to the prompt; 0 for a plain text.
  int64_t prompt = 0;
};

/// Passes every text of the files to `take`, on the caller's thread. Returns the SHA-256 of each whole file, of which
/// every byte is read once, or the errors of a file, its lines, the tokenizer, and `take`. INVALID_ARGUMENT if there
/// are texts, and all that were read are empty.
absl::StatusOr<std::vector<std::string>> Tokenise(const std::vector<std::filesystem::path>& files,
                                                  const Tokenizer& tokenizer, const TokeniseOptions& options,
                                                  const std::function<absl::Status(const TokenisedText&)>& take);

}  // namespace regroup
