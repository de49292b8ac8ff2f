#include "trainer/data/tokenise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "services/common/base/for_each_index.h"
#include "services/common/base/out_of_memory.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/text_reader.h"

namespace regroup {
namespace {

// A batch is large enough to keep all threads busy, and small enough to waste little when reading stops early.
constexpr size_t kBatchTexts = 1024;
constexpr size_t kBatchBytes = 4 << 20;

int ThreadCount(int requested) {
  if (requested > 0) return requested;
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int threads = std::atoi(text);
    if (threads > 0) return threads;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Reads a line of either kind; a plain text becomes a prompt without an answer.
class LineReader {
 public:
  static absl::StatusOr<LineReader> Open(const std::filesystem::path& data, DataKind kind) {
    if (kind == DataKind::kTexts) {
      REGROUP_ASSIGN_OR_RETURN(TextReader texts, TextReader::Open(data));
      return LineReader(std::move(texts));
    }
    REGROUP_ASSIGN_OR_RETURN(InstructionReader instructions, InstructionReader::Open(data));
    return LineReader(std::move(instructions));
  }

  absl::StatusOr<std::optional<InstructionRecord>> Next() {
    if (auto* instructions = std::get_if<InstructionReader>(&reader_)) return instructions->Next();
    REGROUP_ASSIGN_OR_RETURN(std::optional<std::string> text, std::get<TextReader>(reader_).Next());
    if (!text) return std::nullopt;
    return InstructionRecord{.prompt = *std::move(text)};
  }
  absl::StatusOr<std::string> Digest() {
    return std::visit([](auto& reader) { return reader.Digest(); }, reader_);
  }
  const JsonLinesReader& lines() const {
    return std::visit([](const auto& reader) -> const JsonLinesReader& { return reader.lines(); }, reader_);
  }

 private:
  using Reader = std::variant<TextReader, InstructionReader>;
  explicit LineReader(Reader reader) : reader_(std::move(reader)) {}
  Reader reader_;
};

absl::StatusOr<std::vector<InstructionRecord>> ReadBatch(LineReader& reader) {
  std::vector<InstructionRecord> lines;
  size_t bytes = 0;
  while (lines.size() < kBatchTexts && bytes < kBatchBytes) {
    REGROUP_ASSIGN_OR_RETURN(std::optional<InstructionRecord> line, reader.Next());
    if (!line) break;
    bytes += line->prompt.size() + line->completion.size();
    lines.push_back(*std::move(line));
  }
  return lines;
}

using Encoded = absl::StatusOr<TokenisedText>;

Encoded Encode(const Tokenizer& tokenizer, const InstructionRecord& line, DataKind kind) {
  const std::optional<int32_t> end = tokenizer.eos_id();
  TokenisedText text;
  REGROUP_ASSIGN_OR_RETURN(text.ids, tokenizer.Encode(line.prompt));
  if (kind == DataKind::kInstructions) {
    // Post-processing that ends every text would also end the prompt, so its end token is removed.
    if (end && !text.ids.empty() && text.ids.back() == *end) text.ids.pop_back();
    text.prompt = static_cast<int64_t>(text.ids.size());
    REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> answer, tokenizer.EncodeOrdinary(line.completion));
    text.ids.insert(text.ids.end(), answer.begin(), answer.end());
  }
  if (end) text.ids.push_back(*end);
  return text;
}

std::vector<Encoded> EncodeAll(const Tokenizer& tokenizer, const std::vector<InstructionRecord>& lines, DataKind kind,
                               int threads) {
  std::vector<Encoded> encoded(lines.size());
  ForEachIndex(lines.size(), static_cast<size_t>(threads),
               [&](size_t i) { encoded[i] = Encode(tokenizer, lines[i], kind); });
  return encoded;
}

}  // namespace

absl::StatusOr<std::string> Tokenise(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                     const TokeniseOptions& options,
                                     const std::function<absl::Status(const TokenisedText&)>& take) {
  REGROUP_ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(data, options.kind));
  TokeniseProgress progress;
  while (options.enough_tokens == 0 || progress.tokens < options.enough_tokens) {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<InstructionRecord> lines, ReadBatch(reader));
    if (lines.empty()) break;
    for (const Encoded& text : EncodeAll(tokenizer, lines, options.kind, ThreadCount(options.threads))) {
      if (!text.ok()) {
        return absl::Status(text.status().code(), fmt::format("{}: text {}: {}", data.string(), progress.texts + 1,
                                                              std::string(text.status().message())));
      }
      REGROUP_RETURN_IF_ERROR(take(*text));
      ++progress.texts;
      progress.tokens += static_cast<int64_t>(text->ids.size());
    }
    progress.bytes_read = reader.lines().bytes_read();
    progress.file_bytes = reader.lines().file_bytes();
    if (options.progress) options.progress(progress);
  }
  return reader.Digest();
}

}  // namespace regroup
