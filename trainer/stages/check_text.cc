#include "trainer/stages/check_text.h"

#include <fmt/format.h>

#include <filesystem>

#include "services/common/base/status_macros.h"
#include "trainer/data/audio/clip_reader.h"
#include "trainer/data/data_files.h"
#include "trainer/data/text_reader.h"

namespace regroup {
namespace {

/// Reads transcripts together with their audio.
class ClipsReader {
 public:
  static absl::StatusOr<ClipsReader> Open(const std::filesystem::path& file, const JobText& text) {
    REGROUP_ASSIGN_OR_RETURN(TranscriptReader transcripts, TranscriptReader::Open(file, text.field));
    return ClipsReader(std::move(transcripts), text.transcript.spectrogram.Samples());
  }
  absl::StatusOr<std::optional<TranscriptRecord>> Next() {
    REGROUP_ASSIGN_OR_RETURN(std::optional<TranscriptRecord> record, transcripts_.Next());
    if (record) REGROUP_RETURN_IF_ERROR(ReadClip(record->audio, most_samples_).status());
    return record;
  }
  absl::StatusOr<std::string> Digest() { return transcripts_.Digest(); }

 private:
  ClipsReader(TranscriptReader transcripts, int64_t most_samples)
      : transcripts_(std::move(transcripts)), most_samples_(most_samples) {}
  TranscriptReader transcripts_;
  int64_t most_samples_;
};

/// Calls `read` with a reader of each file, and with the file. Returns the files.
template <typename Read>
absl::StatusOr<DataFiles> ReadEach(const JobText& text, const Tokenizer& tokenizer, Read read) {
  auto data = FindDataFiles(text.names);
  if (!data.ok()) return AtKey(text.key, data.status());
  for (const std::filesystem::path& file : data->files) {
    absl::Status status;
    switch (text.kind) {
      case DataKind::kTexts:
        status = read(TextReader::Open(file, text.field, &tokenizer), file);
        break;
      case DataKind::kInstructions:
        status = read(InstructionReader::Open(file), file);
        break;
      case DataKind::kTranscripts:
        status = read(ClipsReader::Open(file, text), file);
        break;
    }
    REGROUP_RETURN_IF_ERROR(AtKey(text.key, status));
  }
  return data;
}

}  // namespace

absl::Status CheckText(const JobText& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  const auto has_a_line = [](auto reader, const std::filesystem::path& file) -> absl::Status {
    REGROUP_RETURN_IF_ERROR(reader.status());
    const auto first = reader->Next();
    if (!first.ok() || first->has_value()) return first.status();
    return absl::InvalidArgumentError(fmt::format("{} contains no text", file.string()));
  };
  REGROUP_RETURN_IF_ERROR(ReadEach(text, tokenizer, has_a_line).status());
  REGROUP_ASSIGN_OR_RETURN(const int64_t tokens, CountTokens(text, tokenizer, sequence_length, sequence_length));
  // Instructions are packed, not cut: one is enough.
  if (tokens >= sequence_length || text.kind == DataKind::kInstructions) return absl::OkStatus();
  return AtKey(text.key, TooFewTokens(DescribeNames(text.names), tokens, sequence_length));
}

absl::StatusOr<int64_t> CountTokens(const JobText& text, const Tokenizer& tokenizer, int64_t sequence_length,
                                    int64_t enough) {
  const auto data = FindDataFiles(text.names);
  if (!data.ok()) return AtKey(text.key, data.status());
  int64_t tokens = 0;
  const auto count = [&](const TokenisedText& each) {
    tokens += static_cast<int64_t>(each.ids.size());
    return absl::OkStatus();
  };
  TokeniseOptions reading = TokeniseOptionsOf(text, sequence_length);
  reading.enough_tokens = enough;
  reading.digests = false;
  REGROUP_RETURN_IF_ERROR(AtKey(text.key, Tokenise(data->files, tokenizer, reading, count).status()));
  return tokens;
}

absl::StatusOr<std::vector<std::string>> CheckAllLines(const JobText& text, const Tokenizer& tokenizer,
                                                       const std::function<void()>& tick) {
  std::vector<std::string> digests;
  const auto read = [&](auto reader, const std::filesystem::path&) -> absl::Status {
    REGROUP_RETURN_IF_ERROR(reader.status());
    for (int64_t lines = 0;; ++lines) {
      const auto line = reader->Next();
      if (!line.ok()) return line.status();
      if (!line->has_value()) break;
      if (lines % 1024 == 0) tick();
    }
    REGROUP_ASSIGN_OR_RETURN(digests.emplace_back(), reader->Digest());
    return absl::OkStatus();
  };
  REGROUP_ASSIGN_OR_RETURN(const DataFiles data, ReadEach(text, tokenizer, read));
  return data.DigestsOfNames(digests);
}

}  // namespace regroup
