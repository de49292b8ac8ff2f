#include "trainer/eval/needle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "services/common/base/status_macros.h"
#include "trainer/data/shuffled_order.h"
#include "trainer/eval/sequence_scores.h"

namespace regroup {
namespace {

constexpr std::array<double, 5> kDepths = {0, 0.25, 0.5, 0.75, 1};
constexpr size_t kChoices = 4;
constexpr uint64_t kSeed = 7;
constexpr int kMostTries = 1000;
constexpr std::array<const char*, 8> kNames = {"Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry"};

using Ids = std::vector<int32_t>;

void Append(Ids& ids, const Ids& more) { ids.insert(ids.end(), more.begin(), more.end()); }

/// Joins the windows.
Ids JoinedTokens(const TokenWindows& windows, int64_t enough) {
  Ids ids;
  for (int64_t window = 0; window < windows.windows() && std::ssize(ids) < enough; ++window) {
    Append(ids, windows.Window(window));
  }
  return ids;
}

/// The sentences of one item, as tokens.
struct Sentences {
  Ids needle, question;
  /// The first is right. All have as many tokens, so that none is likelier for being shorter.
  std::array<Ids, kChoices> choices;

  int64_t Tokens() const { return std::ssize(needle) + std::ssize(question) + std::ssize(choices[0]); }
};

/// Returns the tokens that `whole` has after those of `start`.
absl::StatusOr<Ids> TokensAfter(const Tokenizer& tokenizer, const Ids& start, const std::string& whole) {
  REGROUP_ASSIGN_OR_RETURN(const Ids ids, tokenizer.EncodeOrdinary(whole));
  if (ids.size() > start.size() && std::equal(start.begin(), start.end(), ids.begin())) {
    return Ids(ids.begin() + std::ssize(start), ids.end());
  }
  return absl::InvalidArgumentError("the tokenizer gives a number after a word no tokens of its own");
}

class ItemMaker {
 public:
  /// `text` is the filler and must outlive this; `begin` stands before every context.
  ItemMaker(const Tokenizer& tokenizer, const Ids& text, Ids begin)
      : tokenizer_(tokenizer), text_(text), begin_(std::move(begin)) {}

  /// Returns one sequence for each choice.
  absl::StatusOr<std::vector<ScoredTokens>> Make(int64_t length, double depth) {
    REGROUP_ASSIGN_OR_RETURN(const Sentences sentences, MakeSentences());
    const int64_t free = length - std::ssize(begin_) - sentences.Tokens();
    if (free < 1) {
      return absl::InvalidArgumentError(fmt::format("a context of {} tokens has no room for the sentences", length));
    }
    const auto starts = static_cast<uint64_t>(std::ssize(text_) - free + 1);
    const auto from = text_.begin() + static_cast<int64_t>(random_.Below(starts));
    const auto place = from + static_cast<int64_t>(depth * static_cast<double>(free));
    Ids context = begin_;
    context.insert(context.end(), from, place);
    Append(context, sentences.needle);
    context.insert(context.end(), place, from + free);
    Append(context, sentences.question);
    std::vector<ScoredTokens> sequences;
    for (const Ids& choice : sentences.choices) {
      sequences.push_back({.tokens = context, .scored = std::ssize(choice)});
      Append(sequences.back().tokens, choice);
    }
    return sequences;
  }

 private:
  absl::StatusOr<Sentences> MakeSentences() {
    const std::string sentence = fmt::format("\nThe secret number of {} is", kNames[random_.Below(kNames.size())]);
    Sentences sentences;
    REGROUP_ASSIGN_OR_RETURN(sentences.question, tokenizer_.EncodeOrdinary(sentence));
    std::set<uint64_t> numbers;
    for (int tries = 0; numbers.size() < kChoices; ++tries) {
      if (tries == kMostTries) return absl::InvalidArgumentError("the tokenizer gives numbers unlike lengths");
      const uint64_t number = 1000 + random_.Below(9000);
      REGROUP_ASSIGN_OR_RETURN(Ids ids,
                               TokensAfter(tokenizer_, sentences.question, fmt::format("{} {}", sentence, number)));
      const bool fits = numbers.empty() || ids.size() == sentences.choices[0].size();
      if (numbers.contains(number) || !fits) continue;
      sentences.choices[numbers.size()] = std::move(ids);
      if (numbers.empty()) {
        REGROUP_ASSIGN_OR_RETURN(sentences.needle,
                                 tokenizer_.EncodeOrdinary(fmt::format("{} {}.\n", sentence, number)));
      }
      numbers.insert(number);
    }
    return sentences;
  }

  const Tokenizer& tokenizer_;
  const Ids& text_;
  Ids begin_;
  SplitMix64 random_{kSeed};
};

/// Returns the tokens that the tokenizer puts before every text.
absl::StatusOr<Ids> BeginOf(const Tokenizer& tokenizer) {
  REGROUP_ASSIGN_OR_RETURN(const Ids ids, tokenizer.Encode("a"));
  return tokenizer.bos_id() && !ids.empty() && ids.front() == *tokenizer.bos_id() ? Ids{ids.front()} : Ids{};
}

/// Returns true if the first of the item's choices is likelier than each of the others.
bool IsRight(std::span<const double> scores) {
  return std::all_of(scores.begin() + 1, scores.end(), [&](double other) { return scores.front() > other; });
}

}  // namespace

absl::StatusOr<std::vector<NeedleCell>> MeasureNeedle(const Model& model, const TokenWindows& filler,
                                                      const Tokenizer& tokenizer, const NeedleSettings& settings,
                                                      at::Device device, Communicator& communicator,
                                                      const std::function<void(int64_t, int64_t)>& progress) {
  const int64_t longest = *std::max_element(settings.context_lengths.begin(), settings.context_lengths.end());
  const Ids text = JoinedTokens(filler, 2 * longest);
  if (std::ssize(text) < longest) {
    return absl::InvalidArgumentError(
        fmt::format("the text has {} tokens, fewer than a context of {}", text.size(), longest));
  }
  REGROUP_ASSIGN_OR_RETURN(Ids begin, BeginOf(tokenizer));
  ItemMaker maker(tokenizer, text, std::move(begin));
  std::vector<NeedleCell> cells;
  std::vector<ScoredTokens> sequences;
  for (const int64_t length : settings.context_lengths) {
    for (const double depth : kDepths) {
      cells.push_back({.context_length = length, .depth = depth, .items = settings.items});
      for (int64_t item = 0; item < settings.items; ++item) {
        REGROUP_ASSIGN_OR_RETURN(std::vector<ScoredTokens> choices, maker.Make(length, depth));
        std::move(choices.begin(), choices.end(), std::back_inserter(sequences));
      }
    }
  }
  REGROUP_ASSIGN_OR_RETURN(const std::vector<double> scores,
                           ScoreSequences(model, sequences, device, communicator, progress));
  for (size_t first = 0; first < scores.size(); first += kChoices) {
    NeedleCell& cell = cells[first / kChoices / static_cast<size_t>(settings.items)];
    if (IsRight(std::span(scores).subspan(first, kChoices))) ++cell.right;
  }
  return cells;
}

}  // namespace regroup
