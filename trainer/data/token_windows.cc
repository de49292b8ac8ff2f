#include "trainer/data/token_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<int64_t> EnoughTokens(const TokenWindowsOptions& options) {
  if (options.sequence_length < 2) {
    return absl::InvalidArgumentError(
        fmt::format("sequence_length is {}; it must be at least 2", options.sequence_length));
  }
  int64_t enough = 0;
  if (options.max_windows < 0 || __builtin_mul_overflow(options.max_windows, options.sequence_length, &enough)) {
    return absl::InvalidArgumentError(
        fmt::format("the number of windows is {}, which is out of range", options.max_windows));
  }
  // How many instructions fill a window is known only after tokenising them.
  return options.kind == DataKind::kInstructions ? 0 : enough;
}

absl::Status TooFewTokens(const std::string& data, int64_t tokens, int64_t sequence_length) {
  return absl::InvalidArgumentError(
      fmt::format("{} has {} tokens, fewer than one sequence of {}; give more text or a smaller sequence_length", data,
                  tokens, sequence_length));
}

absl::StatusOr<TokenWindows> TokenWindows::Build(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                                 const TokenWindowsOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const int64_t enough, EnoughTokens(options));
  std::vector<int32_t> tokens;
  std::vector<int64_t> starts, answers;
  const auto take = [&](const TokenisedText& text) {
    const auto start = static_cast<int64_t>(tokens.size());
    starts.push_back(start);
    if (options.kind == DataKind::kInstructions) answers.push_back(start + text.prompt);
    tokens.insert(tokens.end(), text.ids.begin(), text.ids.end());
    return absl::OkStatus();
  };
  const TokeniseOptions reading{.kind = options.kind,
                                .transcript = options.transcript,
                                .field = options.field,
                                .enough_tokens = enough,
                                .threads = options.threads,
                                .progress = options.progress};
  REGROUP_RETURN_IF_ERROR(Tokenise({data}, tokenizer, reading, take).status());
  return Cut(TokenStore::InMemory(std::move(tokens), std::move(starts), std::move(answers)), data.string(), options);
}

absl::StatusOr<TokenWindows> TokenWindows::Cut(TokenStore store, const std::string& data,
                                               const TokenWindowsOptions& options) {
  REGROUP_RETURN_IF_ERROR(EnoughTokens(options).status());
  TokenWindows result(std::move(store));
  result.sequence_length_ = options.sequence_length;
  if (options.kind == DataKind::kTranscripts) result.transcript_tokens_ = options.transcript.tokens;
  REGROUP_RETURN_IF_ERROR(options.kind == DataKind::kInstructions ? result.PackInstructions(data, options.max_windows)
                                                                  : result.CutTexts(data, options.max_windows));
  return result;
}

absl::Status TokenWindows::CutTexts(const std::string& data, int64_t max_windows) {
  windows_ = store_.tokens() / sequence_length_;
  if (windows_ == 0) return TooFewTokens(data, store_.tokens(), sequence_length_);
  if (max_windows > 0) windows_ = std::min(windows_, max_windows);
  return absl::OkStatus();
}

absl::Status TokenWindows::PackInstructions(const std::string& data, int64_t max_windows) {
  int64_t filled = sequence_length_, text = 0;
  for (; text < store_.texts(); ++text) {
    const int64_t count = std::min(store_.End(text) - store_.starts()[static_cast<size_t>(text)], sequence_length_);
    if (filled + count > sequence_length_) {
      if (max_windows > 0 && windows_ == max_windows) break;
      first_texts_.push_back(text);
      ++windows_;
      filled = 0;
    }
    filled += count;
  }
  first_texts_.push_back(text);
  for (int64_t i = 0; i < windows_; ++i) {
    if (!AnswerPlaces(i).empty()) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "{} has no answer within a sequence of {} tokens; a larger sequence_length may help", data, sequence_length_));
}

std::vector<TokenWindows::Piece> TokenWindows::PiecesOf(int64_t i) const {
  std::vector<Piece> pieces;
  int64_t place = 0;
  const auto index = static_cast<size_t>(i);
  for (int64_t text = first_texts_[index]; text < first_texts_[index + 1]; ++text) {
    const int64_t first = store_.starts()[static_cast<size_t>(text)];
    const int64_t count = std::min(store_.End(text) - first, sequence_length_);
    pieces.push_back({text, place, first, count});
    place += count;
  }
  return pieces;
}

void TokenWindows::Copy(int64_t i, int64_t* ids) const {
  if (!store_.has_answers()) return store_.Copy(i * sequence_length_, sequence_length_, ids);
  std::fill_n(ids, sequence_length_, 0);
  for (const Piece& piece : PiecesOf(i)) store_.Copy(piece.first, piece.count, ids + piece.place);
}

std::vector<int32_t> TokenWindows::Window(int64_t i) const {
  std::vector<int64_t> ids(static_cast<size_t>(sequence_length_));
  Copy(i, ids.data());
  return {ids.begin(), ids.end()};
}

std::vector<int64_t> TokenWindows::Documents(int64_t i) const {
  std::vector<int64_t> documents(static_cast<size_t>(sequence_length_), store_.texts());
  if (store_.has_answers()) {
    for (const Piece& piece : PiecesOf(i)) std::fill_n(documents.begin() + piece.place, piece.count, piece.text);
    return documents;
  }
  const int64_t first = i * sequence_length_;
  const auto starts = store_.starts();
  auto next = std::upper_bound(starts.begin(), starts.end(), first);
  for (int64_t place = 0; place < sequence_length_; ++place) {
    while (next != starts.end() && *next <= first + place) ++next;
    documents[static_cast<size_t>(place)] = next - starts.begin() - 1;
  }
  return documents;
}

std::vector<int64_t> TokenWindows::AnswerPlaces(int64_t i) const {
  std::vector<int64_t> places;
  if (transcript_tokens_ > 0) {
    std::vector<int32_t> tokens(static_cast<size_t>(transcript_tokens_));
    store_.Copy((i + 1) * sequence_length_ - transcript_tokens_, transcript_tokens_, tokens.data());
    for (int64_t place = 0; place < transcript_tokens_; ++place) {
      if (tokens[static_cast<size_t>(place)] >= 0) places.push_back(place);
    }
  }
  if (!store_.has_answers()) return places;
  for (const Piece& piece : PiecesOf(i)) {
    const int64_t prompt = store_.answers()[static_cast<size_t>(piece.text)] - piece.first;
    // The first token of a text has no token before it that could predict it.
    for (int64_t token = std::max<int64_t>(prompt, 1); token < piece.count; ++token) {
      places.push_back(piece.place + token - 1);
    }
  }
  return places;
}

std::string TokenWindows::Digest() const {
  Sha256 digest;
  const auto add = [&digest]<typename Value>(const std::vector<Value>& values) {
    digest.Update({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)});
  };
  for (int64_t window = 0; window < windows_; ++window) {
    add(Window(window));
    std::vector<int64_t> documents = Documents(window);
    // Padding has the number of all texts, also of those after the windows.
    std::replace(documents.begin(), documents.end(), store_.texts(), int64_t{-1});
    add(documents);
  }
  return digest.Finish();
}

}  // namespace regroup
