// Reads the four kinds of data file: texts and conversations, instructions with answers, transcripts of audio files,
// and multiple choice. All are JSON Lines; every error names file and line. Each reader is used by one thread at a time
// and never holds a whole file in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/json_lines_reader.h"
#include "trainer/data/tokenizer.h"

namespace regroup {

inline constexpr char kTextField[] = "text";

/// Reads lines {"text"}, or those whose text is in another field. A field may also hold a conversation
/// (conversation.h), as may "messages" or "conversations" of a line without the field. Other fields are ignored.
class TextReader {
 public:
  /// `tokenizer` renders conversations, and must outlive the reader; without one, they are refused.
  static absl::StatusOr<TextReader> Open(const std::filesystem::path& path, std::string field = kTextField,
                                         const Tokenizer* tokenizer = nullptr);
  /// Returns the next text, or nullopt at the end.
  absl::StatusOr<std::optional<std::string>> Next();
  /// Tells whether that text is a rendered conversation, which has all its special tokens.
  bool is_conversation() const { return is_conversation_; }
  const JsonLinesReader& lines() const { return lines_; }
  /// See JsonLinesReader::Digest.
  absl::StatusOr<std::string> Digest() { return lines_.Digest(); }

 private:
  TextReader(JsonLinesReader lines, std::string field, const Tokenizer* tokenizer)
      : lines_(std::move(lines)), field_(std::move(field)), tokenizer_(tokenizer) {}
  absl::StatusOr<std::string> Render(const std::string& field);

  JsonLinesReader lines_;
  std::string field_;
  const Tokenizer* tokenizer_;
  bool is_conversation_ = false;
};

struct InstructionRecord {
  std::string prompt;
  std::string completion;
};

/// Reads lines {"prompt", "completion"}.
class InstructionReader {
 public:
  static absl::StatusOr<InstructionReader> Open(const std::filesystem::path& path);
  absl::StatusOr<std::optional<InstructionRecord>> Next();
  const JsonLinesReader& lines() const { return lines_; }
  /// See JsonLinesReader::Digest.
  absl::StatusOr<std::string> Digest() { return lines_.Digest(); }

 private:
  explicit InstructionReader(JsonLinesReader lines) : lines_(std::move(lines)) {}
  JsonLinesReader lines_;
};

struct TranscriptRecord {
  /// A relative path is one below the folder of the data file.
  std::filesystem::path audio;
  std::string text;
};

/// Reads lines {"audio", "text"}; the text may be in another field. Does not open the audio files.
class TranscriptReader {
 public:
  static absl::StatusOr<TranscriptReader> Open(const std::filesystem::path& path, std::string field = kTextField);
  absl::StatusOr<std::optional<TranscriptRecord>> Next();
  const JsonLinesReader& lines() const { return lines_; }
  /// See JsonLinesReader::Digest.
  absl::StatusOr<std::string> Digest() { return lines_.Digest(); }

 private:
  TranscriptReader(JsonLinesReader lines, std::filesystem::path folder, std::string field)
      : lines_(std::move(lines)), folder_(std::move(folder)), field_(std::move(field)) {}

  JsonLinesReader lines_;
  std::filesystem::path folder_;
  std::string field_;
};

struct MultipleChoiceRecord {
  std::string context;
  std::vector<std::string> choices;
  /// Index of the correct choice, within `choices`.
  int64_t label = 0;
};

/// Reads lines {"context", "choices": [at least two strings], "label": index of the correct one}.
class MultipleChoiceReader {
 public:
  static absl::StatusOr<MultipleChoiceReader> Open(const std::filesystem::path& path);
  absl::StatusOr<std::optional<MultipleChoiceRecord>> Next();
  /// See JsonLinesReader::Digest.
  absl::StatusOr<std::string> Digest() { return lines_.Digest(); }

 private:
  explicit MultipleChoiceReader(JsonLinesReader lines) : lines_(std::move(lines)) {}
  JsonLinesReader lines_;
};

}  // namespace regroup
