#include "trainer/data/token_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>

#include "services/base/status_macros.h"
#include "trainer/data/text_reader.h"

namespace regroup {
namespace {

// A batch is large enough to keep all threads busy, and small enough that stopping at max_windows wastes little.
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

absl::StatusOr<std::vector<std::string>> ReadBatch(TextReader& reader) {
  std::vector<std::string> texts;
  size_t bytes = 0;
  while (texts.size() < kBatchTexts && bytes < kBatchBytes) {
    REGROUP_ASSIGN_OR_RETURN(std::optional<std::string> text, reader.Next());
    if (!text) break;
    bytes += text->size();
    texts.push_back(*std::move(text));
  }
  return texts;
}

using Encoded = absl::StatusOr<std::vector<int32_t>>;

std::vector<Encoded> EncodeAll(const Tokenizer& tokenizer, const std::vector<std::string>& texts, int threads) {
  std::vector<Encoded> encoded(texts.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < texts.size(); i = next++) encoded[i] = tokenizer.Encode(texts[i]);
  };
  std::vector<std::jthread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  return encoded;
}

/// Tokens wanted, or 0 for all.
absl::StatusOr<size_t> TokenLimit(const TokenWindowsOptions& options) {
  if (options.sequence_length < 2) {
    return absl::InvalidArgumentError(
        fmt::format("sequence_length is {}; it must be at least 2", options.sequence_length));
  }
  size_t limit = 0;
  if (options.max_windows < 0 || __builtin_mul_overflow(static_cast<size_t>(options.max_windows),
                                                        static_cast<size_t>(options.sequence_length), &limit)) {
    return absl::InvalidArgumentError(fmt::format("the number of windows is {}", options.max_windows));
  }
  return limit;
}

}  // namespace

absl::Status TokenWindows::Append(const std::vector<std::string>& texts, const Tokenizer& tokenizer, int threads) {
  for (Encoded& ids : EncodeAll(tokenizer, texts, threads)) {
    ++texts_;
    if (!ids.ok()) return std::move(ids).status();
    starts_.push_back(static_cast<int64_t>(tokens_.size()));
    tokens_.insert(tokens_.end(), ids->begin(), ids->end());
    if (const std::optional<int32_t> eos = tokenizer.eos_id()) tokens_.push_back(*eos);
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenWindows> TokenWindows::Build(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                                 const TokenWindowsOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const size_t limit, TokenLimit(options));
  REGROUP_ASSIGN_OR_RETURN(TextReader reader, TextReader::Open(data));
  TokenWindows result;
  result.sequence_length_ = options.sequence_length;
  while (limit == 0 || result.tokens_.size() < limit) {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> texts, ReadBatch(reader));
    if (texts.empty()) break;
    REGROUP_RETURN_IF_ERROR(result.Append(texts, tokenizer, ThreadCount(options.threads)));
    if (options.progress) {
      options.progress({result.texts_, static_cast<int64_t>(result.tokens_.size()), reader.lines().bytes_read(),
                        reader.lines().file_bytes()});
    }
  }
  REGROUP_RETURN_IF_ERROR(result.CutToWindows(data, limit));
  return result;
}

absl::Status TokenWindows::CutToWindows(const std::filesystem::path& data, size_t limit) {
  const auto length = static_cast<size_t>(sequence_length_);
  if (limit > 0 && tokens_.size() > limit) tokens_.resize(limit);
  if (tokens_.size() < length) {
    return absl::InvalidArgumentError(
        fmt::format("{} has {} tokens, fewer than one sequence of {}; give more text or a "
                    "smaller sequence_length",
                    data.string(), tokens_.size(), length));
  }
  windows_ = static_cast<int64_t>(tokens_.size() / length);
  tokens_.resize(static_cast<size_t>(windows_) * length);
  return absl::OkStatus();
}

std::span<const int32_t> TokenWindows::Window(int64_t i) const {
  const auto length = static_cast<size_t>(sequence_length_);
  return std::span(tokens_).subspan(static_cast<size_t>(i) * length, length);
}

std::vector<int64_t> TokenWindows::Documents(int64_t i) const {
  std::vector<int64_t> documents(static_cast<size_t>(sequence_length_));
  const int64_t first = i * sequence_length_;
  auto next = std::upper_bound(starts_.begin(), starts_.end(), first);
  for (int64_t place = 0; place < sequence_length_; ++place) {
    while (next != starts_.end() && *next <= first + place) ++next;
    documents[static_cast<size_t>(place)] = next - starts_.begin() - 1;
  }
  return documents;
}

}  // namespace regroup
