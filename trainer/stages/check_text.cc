#include "trainer/stages/check_text.h"

#include <fmt/format.h>

#include <filesystem>

#include "services/common/base/status_macros.h"
#include "trainer/data/data_files.h"
#include "trainer/data/text_reader.h"

namespace regroup {
namespace {

/// Calls `read` with a reader of each file, and with the file.
template <typename Read>
absl::Status ReadEach(const JobText& text, Read read) {
  const auto data = FindDataFiles(text.names);
  if (!data.ok()) return AtKey(text.key, data.status());
  for (const std::filesystem::path& file : data->files) {
    const absl::Status status = text.kind == DataKind::kTexts ? read(TextReader::Open(file, text.field), file)
                                                              : read(InstructionReader::Open(file), file);
    REGROUP_RETURN_IF_ERROR(AtKey(text.key, status));
  }
  return absl::OkStatus();
}

/// Instructions are packed, not cut: one is enough.
absl::Status CheckFillsASequence(const JobText& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  REGROUP_ASSIGN_OR_RETURN(const DataFiles data, FindDataFiles(text.names));
  int64_t tokens = 0;
  const auto count = [&](const TokenisedText& each) {
    tokens += static_cast<int64_t>(each.ids.size());
    return absl::OkStatus();
  };
  const TokeniseOptions reading{
      .kind = text.kind, .field = text.field, .enough_tokens = sequence_length, .digests = false};
  REGROUP_RETURN_IF_ERROR(Tokenise(data.files, tokenizer, reading, count).status());
  if (tokens >= sequence_length || text.kind == DataKind::kInstructions) return absl::OkStatus();
  return TooFewTokens(DescribeNames(text.names), tokens, sequence_length);
}

}  // namespace

absl::Status CheckText(const JobText& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  REGROUP_RETURN_IF_ERROR(ReadEach(text, [](auto reader, const std::filesystem::path& file) -> absl::Status {
    REGROUP_RETURN_IF_ERROR(reader.status());
    const auto first = reader->Next();
    if (!first.ok() || first->has_value()) return first.status();
    return absl::InvalidArgumentError(fmt::format("{} contains no text", file.string()));
  }));
  return AtKey(text.key, CheckFillsASequence(text, tokenizer, sequence_length));
}

absl::Status CheckAllLines(const JobText& text, const std::function<void()>& tick) {
  return ReadEach(text, [&](auto reader, const std::filesystem::path&) -> absl::Status {
    REGROUP_RETURN_IF_ERROR(reader.status());
    for (int64_t lines = 0;; ++lines) {
      const auto line = reader->Next();
      if (!line.ok() || !line->has_value()) return line.status();
      if (lines % 1024 == 0) tick();
    }
  });
}

}  // namespace regroup
