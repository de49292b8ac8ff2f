#include "trainer/data/tokenise.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "services/common/base/file_digest.h"
#include "services/common/base/for_each_index.h"
#include "services/common/base/machine_errors.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/audio/clip_reader.h"
#include "trainer/data/text_reader.h"

namespace regroup {
namespace {

// A batch is large enough to keep all threads busy, and small enough to waste little when reading stops early.
constexpr size_t kBatchTexts = 1024;
constexpr size_t kBatchBytes = 4 << 20;
// A clip of 30 s has a spectrogram of 1 to 1.5 MB.
constexpr size_t kBatchClips = 32;

int ThreadCount(int requested) {
  if (requested > 0) return requested;
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int threads = std::atoi(text);
    if (threads > 0) return threads;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

struct Line {
  /// A plain text is a prompt without an answer.
  InstructionRecord record;
  bool is_conversation = false;
  /// The file of a transcript.
  std::filesystem::path audio;
};

/// Reads a line of any kind.
class LineReader {
 public:
  static absl::StatusOr<LineReader> Open(const std::filesystem::path& data, const TokeniseOptions& options,
                                         const Tokenizer& tokenizer) {
    if (options.kind == DataKind::kTexts) {
      REGROUP_ASSIGN_OR_RETURN(TextReader texts, TextReader::Open(data, options.field, &tokenizer));
      return LineReader(std::move(texts));
    }
    if (options.kind == DataKind::kTranscripts) {
      REGROUP_ASSIGN_OR_RETURN(TranscriptReader transcripts, TranscriptReader::Open(data, options.field));
      return LineReader(std::move(transcripts));
    }
    REGROUP_ASSIGN_OR_RETURN(InstructionReader instructions, InstructionReader::Open(data));
    return LineReader(std::move(instructions));
  }

  absl::StatusOr<std::optional<Line>> Next() {
    if (auto* instructions = std::get_if<InstructionReader>(&reader_)) {
      REGROUP_ASSIGN_OR_RETURN(std::optional<InstructionRecord> record, instructions->Next());
      if (!record) return std::nullopt;
      return Line{.record = *std::move(record)};
    }
    if (auto* transcripts = std::get_if<TranscriptReader>(&reader_)) {
      REGROUP_ASSIGN_OR_RETURN(std::optional<TranscriptRecord> record, transcripts->Next());
      if (!record) return std::nullopt;
      return Line{.record = {.prompt = std::move(record->text)}, .audio = std::move(record->audio)};
    }
    auto& texts = std::get<TextReader>(reader_);
    REGROUP_ASSIGN_OR_RETURN(std::optional<std::string> text, texts.Next());
    if (!text) return std::nullopt;
    return Line{.record = {.prompt = *std::move(text)}, .is_conversation = texts.is_conversation()};
  }
  absl::StatusOr<std::string> Digest() {
    return std::visit([](auto& reader) { return reader.Digest(); }, reader_);
  }
  const JsonLinesReader& lines() const {
    return std::visit([](const auto& reader) -> const JsonLinesReader& { return reader.lines(); }, reader_);
  }

 private:
  using Reader = std::variant<TextReader, InstructionReader, TranscriptReader>;
  explicit LineReader(Reader reader) : reader_(std::move(reader)) {}
  Reader reader_;
};

absl::StatusOr<std::vector<Line>> ReadBatch(LineReader& reader, size_t most) {
  std::vector<Line> lines;
  size_t bytes = 0;
  while (lines.size() < most && bytes < kBatchBytes) {
    REGROUP_ASSIGN_OR_RETURN(std::optional<Line> line, reader.Next());
    if (!line) break;
    bytes += line->record.prompt.size() + line->record.completion.size();
    lines.push_back(*std::move(line));
  }
  return lines;
}

using Encoded = absl::StatusOr<TokenisedText>;

Encoded Encode(const Tokenizer& tokenizer, const Line& line, DataKind kind) {
  const std::optional<int32_t> end = tokenizer.eos_id();
  const auto& [prompt, completion] = line.record;
  TokenisedText text;
  if (line.is_conversation) {
    // The template writes the special tokens, also those at both ends.
    REGROUP_ASSIGN_OR_RETURN(text.ids, tokenizer.EncodeOrdinary(prompt));
    return text;
  }
  REGROUP_ASSIGN_OR_RETURN(text.ids, tokenizer.Encode(prompt));
  if (kind == DataKind::kInstructions) {
    // Post-processing that ends every text would also end the prompt, so its end token is removed.
    if (end && !text.ids.empty() && text.ids.back() == *end) text.ids.pop_back();
    text.prompt = static_cast<int64_t>(text.ids.size());
    REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> answer, tokenizer.EncodeOrdinary(completion));
    text.ids.insert(text.ids.end(), answer.begin(), answer.end());
  }
  if (end) text.ids.push_back(*end);
  return text;
}

/// Encodes audio and transcript as a window.
class TranscriptEncoder {
 public:
  explicit TranscriptEncoder(const TranscriptShape& shape) : shape_(shape), log_mel_(shape.spectrogram) {}

  Encoded Encode(const Tokenizer& tokenizer, const Line& line) const {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<float> clip, ReadClip(line.audio, shape_.spectrogram.Samples()));
    REGROUP_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, tokenizer.Encode(line.record.prompt));
    const std::optional<int32_t> end = tokenizer.eos_id();
    if (!tokens.empty() && tokens.front() == shape_.start_token) tokens.erase(tokens.begin());
    if (end && (tokens.empty() || tokens.back() != *end)) tokens.push_back(*end);
    if (tokens.empty()) return absl::InvalidArgumentError("the transcript has no tokens");
    tokens.resize(static_cast<size_t>(shape_.tokens), -1);
    TokenisedText window;
    for (const float value : log_mel_.Of(clip)) window.ids.push_back(std::bit_cast<int32_t>(value));
    window.ids.insert(window.ids.end(), tokens.begin(), tokens.end());
    return window;
  }

 private:
  const TranscriptShape shape_;
  const LogMel log_mel_;
};

/// Tokenises one file after the other, and counts over all of them.
class Tokenising {
 public:
  using Take = std::function<absl::Status(const TokenisedText&)>;

  Tokenising(const Tokenizer& tokenizer, const TokeniseOptions& options, const Take& take)
      : tokenizer_(tokenizer), options_(options), take_(take) {
    if (options.kind == DataKind::kTranscripts) transcripts_.emplace(options.transcript);
  }

  /// Adds to the size that progress is measured against.
  void Expect(const std::filesystem::path& file) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(file, error);
    if (!error) progress_.file_bytes += bytes;
  }

  /// Returns the file's digest, or an empty text if none is wanted.
  absl::StatusOr<std::string> Read(const std::filesystem::path& file) {
    if (HasEnough()) return options_.digests ? FileDigest(file) : "";
    REGROUP_ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(file, options_, tokenizer_));
    const uint64_t bytes_before = progress_.bytes_read;
    const int64_t texts_before = progress_.texts;
    while (!HasEnough()) {
      REGROUP_ASSIGN_OR_RETURN(const std::vector<Line> lines,
                               ReadBatch(reader, transcripts_ ? kBatchClips : kBatchTexts));
      if (lines.empty()) break;
      REGROUP_RETURN_IF_ERROR(Add(file, lines, texts_before));
      progress_.bytes_read = bytes_before + reader.lines().bytes_read();
      ShowProgress();
    }
    return options_.digests ? reader.Digest() : "";
  }

  void ShowProgress() const {
    if (options_.progress) options_.progress(progress_);
  }

  /// Fails if no text has a character, as the statistics of such data would be those of end tokens.
  absl::Status CheckContent(const std::filesystem::path& first) const {
    if (has_content_ || progress_.texts == 0) return absl::OkStatus();
    const bool answers = options_.kind == DataKind::kInstructions;
    return absl::InvalidArgumentError(fmt::format("{}: all {} {} that were read are empty", first.string(),
                                                  progress_.texts, answers ? "completions" : "texts"));
  }

 private:
  bool HasEnough() const { return options_.enough_tokens > 0 && progress_.tokens >= options_.enough_tokens; }

  std::vector<Encoded> EncodeAll(const std::vector<Line>& lines) const {
    std::vector<Encoded> encoded(lines.size());
    ForEachIndex(lines.size(), static_cast<size_t>(ThreadCount(options_.threads)), [&](size_t i) {
      encoded[i] =
          transcripts_ ? transcripts_->Encode(tokenizer_, lines[i]) : Encode(tokenizer_, lines[i], options_.kind);
    });
    return encoded;
  }

  absl::Status Add(const std::filesystem::path& file, const std::vector<Line>& lines, int64_t texts_before) {
    for (const Line& line : lines) {
      const auto& [prompt, completion] = line.record;
      has_content_ |= !(options_.kind == DataKind::kInstructions ? completion : prompt).empty();
    }
    for (const Encoded& text : EncodeAll(lines)) {
      if (!text.ok()) {
        return absl::Status(text.status().code(),
                            fmt::format("{}: text {}: {}", file.string(), progress_.texts - texts_before + 1,
                                        std::string(text.status().message())));
      }
      REGROUP_RETURN_IF_ERROR(take_(*text));
      ++progress_.texts;
      progress_.tokens += static_cast<int64_t>(text->ids.size());
    }
    return absl::OkStatus();
  }

  const Tokenizer& tokenizer_;
  const TokeniseOptions& options_;
  const Take& take_;
  std::optional<TranscriptEncoder> transcripts_;
  TokeniseProgress progress_;
  bool has_content_ = false;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> Tokenise(const std::vector<std::filesystem::path>& files,
                                                  const Tokenizer& tokenizer, const TokeniseOptions& options,
                                                  const std::function<absl::Status(const TokenisedText&)>& take) {
  Tokenising tokenising(tokenizer, options, take);
  for (const std::filesystem::path& file : files) tokenising.Expect(file);
  std::vector<std::string> digests;
  for (const std::filesystem::path& file : files) {
    REGROUP_ASSIGN_OR_RETURN(std::string digest, tokenising.Read(file));
    if (options.digests) digests.push_back(std::move(digest));
    tokenising.ShowProgress();
  }
  if (!files.empty()) REGROUP_RETURN_IF_ERROR(tokenising.CheckContent(files.front()));
  return digests;
}

}  // namespace regroup
