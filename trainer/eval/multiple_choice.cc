#include "trainer/eval/multiple_choice.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <string_view>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/utf8.h"
#include "trainer/eval/sequence_scores.h"

namespace regroup {
namespace {

/// One choice of one item as tokens.
struct Choice {
  size_t item = 0;
  size_t choice = 0;
  ScoredTokens sequence;
};

/// Returns the position after the last character other than whitespace.
size_t EndWithoutWhitespace(std::string_view text) {
  size_t end = 0;
  for (size_t position = 0; position < text.size();) {
    if (!IsWhitespace(NextCharacter(text, position))) end = position;
  }
  return end;
}

/// Returns the tokens of context and choice; the last `scored` ones are those of the choice.
absl::StatusOr<ScoredTokens> EncodePair(const std::string& context, const std::string& continuation,
                                        const Tokenizer& tokenizer, bool has_encoder) {
  ScoredTokens sequence;
  REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> before, tokenizer.Encode(context));
  if (has_encoder) {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> after, tokenizer.EncodeOrdinary(continuation));
    sequence.tokens = before;
    sequence.tokens.insert(sequence.tokens.end(), after.begin(), after.end());
  } else {
    REGROUP_ASSIGN_OR_RETURN(sequence.tokens, tokenizer.Encode(context + continuation));
  }
  sequence.scored = std::ssize(sequence.tokens) - std::ssize(before);
  return sequence;
}

/// Returns the tokens of a continuation without a context.
absl::StatusOr<ScoredTokens> EncodeAlone(const std::string& continuation, const Tokenizer& tokenizer) {
  const std::optional<int32_t> first = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
  if (!first) {
    return absl::InvalidArgumentError("the context is empty, and the tokenizer has no begin or end token to put there");
  }
  ScoredTokens sequence;
  REGROUP_ASSIGN_OR_RETURN(sequence.tokens, tokenizer.EncodeOrdinary(continuation));
  if (sequence.tokens.empty() || sequence.tokens.front() != *first) {
    sequence.tokens.insert(sequence.tokens.begin(), *first);
  }
  sequence.scored = std::ssize(sequence.tokens) - 1;
  return sequence;
}

/// Removes the first tokens of what does not fit into the model's positions.
void Shorten(ScoredTokens& sequence, const ModelConfig& config) {
  std::vector<int32_t>& tokens = sequence.tokens;
  const int64_t positions = config.StackPositions();
  if (!config.HasEncoder()) {
    // The model reads all but the last token.
    if (std::ssize(tokens) > positions + 1) tokens.erase(tokens.begin(), tokens.end() - positions - 1);
    sequence.scored = std::min(sequence.scored, positions);
    return;
  }
  const int64_t context = std::ssize(tokens) - sequence.scored;
  const int64_t scored = std::min(sequence.scored, positions);
  tokens.erase(tokens.begin() + context, tokens.end() - scored);
  tokens.erase(tokens.begin(), tokens.begin() + std::max<int64_t>(0, context - positions));
  sequence.scored = scored;
}

absl::StatusOr<ScoredTokens> Encode(const MultipleChoiceRecord& record, size_t choice, const Tokenizer& tokenizer,
                                    const ModelConfig& config) {
  const size_t end = EndWithoutWhitespace(record.context);
  const std::string context = record.context.substr(0, end);
  const std::string continuation = record.context.substr(end) + " " + record.choices[choice];
  REGROUP_ASSIGN_OR_RETURN(ScoredTokens sequence,
                           context.empty() ? EncodeAlone(continuation, tokenizer)
                                           : EncodePair(context, continuation, tokenizer, config.HasEncoder()));
  if (sequence.scored < 1 || sequence.scored >= std::ssize(sequence.tokens)) {
    return absl::InvalidArgumentError(fmt::format("choice {} adds no token to its context", choice));
  }
  Shorten(sequence, config);
  return sequence;
}

int64_t CharactersOf(std::string_view text) {
  int64_t count = 0;
  for (size_t position = 0; position < text.size(); ++count) NextCharacter(text, position);
  return count;
}

struct Questions {
  MultipleChoice result;
  std::vector<Choice> choices;
};

absl::StatusOr<Questions> ReadQuestions(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                        const ModelConfig& config) {
  Questions questions;
  REGROUP_ASSIGN_OR_RETURN(MultipleChoiceReader reader, MultipleChoiceReader::Open(data));
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const std::optional<MultipleChoiceRecord> record, reader.Next());
    if (!record.has_value()) {
      REGROUP_ASSIGN_OR_RETURN(questions.result.data_digest, reader.Digest());
      return questions;
    }
    ChoiceItem& item = questions.result.items.emplace_back();
    item.label = record->label;
    for (size_t choice = 0; choice < record->choices.size(); ++choice) {
      auto sequence = Encode(*record, choice, tokenizer, config);
      if (!sequence.ok()) {
        return absl::Status(sequence.status().code(),
                            fmt::format("{}: item {}: {}", data.string(), questions.result.items.size(),
                                        std::string(sequence.status().message())));
      }
      questions.choices.push_back(
          {.item = questions.result.items.size() - 1, .choice = choice, .sequence = *std::move(sequence)});
      item.characters.push_back(CharactersOf(record->choices[choice]));
      item.bytes.push_back(std::ssize(record->choices[choice]));
    }
    item.log_likelihoods.resize(item.bytes.size());
  }
}

}  // namespace

int64_t ChoiceItem::Best(ChoiceLength length) const {
  size_t best = 0;
  const auto score = [&](size_t choice) {
    if (length == ChoiceLength::kNone) return log_likelihoods[choice];
    const int64_t units = length == ChoiceLength::kBytes ? bytes[choice] : characters[choice];
    return log_likelihoods[choice] / static_cast<double>(units);
  };
  for (size_t choice = 1; choice < log_likelihoods.size(); ++choice) {
    if (score(choice) > score(best)) best = choice;
  }
  return static_cast<int64_t>(best);
}

double MultipleChoice::Accuracy(ChoiceLength length) const {
  if (items.empty()) return 0;
  const auto right = std::count_if(items.begin(), items.end(),
                                   [&](const ChoiceItem& item) { return item.Best(length) == item.label; });
  return static_cast<double>(right) / static_cast<double>(items.size());
}

double MultipleChoice::StandardError(ChoiceLength length) const {
  if (items.size() < 2) return 0;
  const double accuracy = Accuracy(length);
  return std::sqrt(accuracy * (1.0 - accuracy) / static_cast<double>(items.size() - 1));
}

absl::StatusOr<MultipleChoice> MeasureMultipleChoice(const Model& model, const std::filesystem::path& data,
                                                     const Tokenizer& tokenizer, at::Device device,
                                                     Communicator& communicator,
                                                     const std::function<void(int64_t, int64_t)>& progress) {
  REGROUP_ASSIGN_OR_RETURN(Questions questions, ReadQuestions(data, tokenizer, model.config));
  std::vector<ScoredTokens> sequences;
  for (Choice& choice : questions.choices) sequences.push_back(std::move(choice.sequence));
  REGROUP_ASSIGN_OR_RETURN(const std::vector<double> scores,
                           ScoreSequences(model, sequences, device, communicator, progress));
  for (size_t index = 0; index < scores.size(); ++index) {
    const Choice& choice = questions.choices[index];
    questions.result.items[choice.item].log_likelihoods[choice.choice] = scores[index];
  }
  return std::move(questions.result);
}

}  // namespace regroup
