// Reads the three kinds of data file: texts, instructions with answers, and multiple choice. All are JSON Lines; every
// error names file and line. Each reader is used by one thread at a time and never holds a whole file in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/json_lines_reader.h"

namespace regroup {

inline constexpr char kTextField[] = "text";

/// Reads lines {"text"}, or those whose text is in another field. Other fields are ignored.
class TextReader {
 public:
  static absl::StatusOr<TextReader> Open(const std::filesystem::path& path, std::string field = kTextField);
  /// Returns the next text, or nullopt at the end.
  absl::StatusOr<std::optional<std::string>> Next();
  const JsonLinesReader& lines() const { return lines_; }
  /// See JsonLinesReader::Digest.
  absl::StatusOr<std::string> Digest() { return lines_.Digest(); }

 private:
  TextReader(JsonLinesReader lines, std::string field) : lines_(std::move(lines)), field_(std::move(field)) {}
  JsonLinesReader lines_;
  std::string field_;
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
