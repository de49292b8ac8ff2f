#include "trainer/eval/multiple_choice.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/common/base/status_macros.h"
#include "trainer/eval/perplexity.h"

namespace regroup {
namespace {

constexpr int64_t kTokensPerBatch = 4096;

/// One choice of one item as tokens; the last `scored` tokens belong to the choice.
struct Sequence {
  size_t item = 0;
  size_t choice = 0;
  std::vector<int32_t> tokens;
  int64_t scored = 0;
};

absl::StatusOr<Sequence> Encode(const MultipleChoiceRecord& record, size_t choice, const Tokenizer& tokenizer,
                                int64_t max_positions) {
  Sequence sequence{.choice = choice};
  REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> context, tokenizer.Encode(record.context));
  REGROUP_ASSIGN_OR_RETURN(sequence.tokens, tokenizer.Encode(record.context + " " + record.choices[choice]));
  sequence.scored = static_cast<int64_t>(sequence.tokens.size()) - static_cast<int64_t>(context.size());
  if (sequence.scored < 1 || context.empty()) {
    return absl::InvalidArgumentError(fmt::format("choice {} adds no token to its context", choice));
  }
  const auto length = static_cast<int64_t>(sequence.tokens.size());
  if (length > max_positions) sequence.tokens.erase(sequence.tokens.begin(), sequence.tokens.end() - max_positions);
  sequence.scored = std::min(sequence.scored, max_positions - 1);
  return sequence;
}

/// Returns the batch right-padded with token 0, which a causal model's earlier positions do not see.
at::Tensor PaddedBatch(const std::vector<Sequence>& sequences, size_t begin, size_t end) {
  const auto longest = static_cast<int64_t>(sequences[begin].tokens.size());
  at::Tensor batch = at::zeros({static_cast<int64_t>(end - begin), longest}, at::kLong);
  for (size_t row = begin; row < end; ++row) {
    int64_t* values = batch.mutable_data_ptr<int64_t>() + static_cast<int64_t>(row - begin) * longest;
    std::copy(sequences[row].tokens.begin(), sequences[row].tokens.end(), values);
  }
  return batch;
}

/// Returns the end of each batch of the sequences, which are sorted by length, longest first. An encoder would see
/// padding, so its contexts are not batched with others.
std::vector<size_t> BatchEnds(const std::vector<Sequence>& sequences, bool has_encoder) {
  std::vector<size_t> ends;
  for (size_t begin = 0; begin < sequences.size(); begin = ends.back()) {
    const size_t rows = has_encoder ? 1 : std::max<size_t>(1, kTokensPerBatch / sequences[begin].tokens.size());
    ends.push_back(std::min(begin + rows, sequences.size()));
  }
  return ends;
}

/// Writes the log-likelihoods of the choices in [begin, end) into `scores`.
void ScoreBatch(const Model& model, const std::vector<Sequence>& sequences, size_t begin, size_t end, at::Device device,
                at::Tensor& scores) {
  const bool encodes = model.config.HasEncoder();
  const int64_t context = static_cast<int64_t>(sequences[begin].tokens.size()) - sequences[begin].scored;
  const at::Tensor losses =
      TokenLosses(model, PaddedBatch(sequences, begin, end).to(device), context).to(at::kCPU, at::kDouble);
  for (size_t row = begin; row < end; ++row) {
    const Sequence& sequence = sequences[row];
    const int64_t start = encodes ? 0 : static_cast<int64_t>(sequence.tokens.size()) - 1 - sequence.scored;
    const at::Tensor own = losses[static_cast<int64_t>(row - begin)].narrow(0, start, sequence.scored);
    scores[static_cast<int64_t>(row)] = -own.sum();
  }
}

struct Questions {
  MultipleChoice result;
  std::vector<Sequence> sequences;
};

absl::StatusOr<Questions> ReadQuestions(const std::filesystem::path& data, const Tokenizer& tokenizer,
                                        int64_t max_positions) {
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
      auto sequence = Encode(*record, choice, tokenizer, max_positions);
      if (!sequence.ok()) {
        return absl::Status(sequence.status().code(),
                            fmt::format("{}: item {}: {}", data.string(), questions.result.items.size(),
                                        std::string(sequence.status().message())));
      }
      sequence->item = questions.result.items.size() - 1;
      questions.sequences.push_back(*std::move(sequence));
      item.bytes.push_back(static_cast<int64_t>(record->choices[choice].size()) + 1);
    }
    item.log_likelihoods.resize(item.bytes.size());
  }
}

}  // namespace

int64_t ChoiceItem::Best(bool per_byte) const {
  size_t best = 0;
  const auto score = [&](size_t choice) {
    return per_byte ? log_likelihoods[choice] / static_cast<double>(bytes[choice]) : log_likelihoods[choice];
  };
  for (size_t choice = 1; choice < log_likelihoods.size(); ++choice) {
    if (score(choice) > score(best)) best = choice;
  }
  return static_cast<int64_t>(best);
}

double MultipleChoice::Accuracy(bool per_byte) const {
  if (items.empty()) return 0;
  const auto right = std::count_if(items.begin(), items.end(),
                                   [&](const ChoiceItem& item) { return item.Best(per_byte) == item.label; });
  return static_cast<double>(right) / static_cast<double>(items.size());
}

double MultipleChoice::StandardError(bool per_byte) const {
  if (items.size() < 2) return 0;
  const double accuracy = Accuracy(per_byte);
  return std::sqrt(accuracy * (1.0 - accuracy) / static_cast<double>(items.size() - 1));
}

absl::StatusOr<MultipleChoice> MeasureMultipleChoice(const Model& model, const std::filesystem::path& data,
                                                     const Tokenizer& tokenizer, at::Device device,
                                                     Communicator& communicator,
                                                     const std::function<void(int64_t, int64_t)>& progress) {
  REGROUP_ASSIGN_OR_RETURN(Questions questions, ReadQuestions(data, tokenizer, model.config.max_positions));
  std::vector<Sequence>& sequences = questions.sequences;
  // The longest come first, so that rows of a batch have similar lengths and the largest batch runs while memory is
  // free.
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Sequence& a, const Sequence& b) { return a.tokens.size() > b.tokens.size(); });
  const auto count = static_cast<int64_t>(sequences.size());
  at::Tensor scores = at::zeros({count}, at::kDouble);
  const std::vector<size_t> ends = BatchEnds(sequences, model.config.HasEncoder());
  for (size_t batch = communicator.rank(); batch < ends.size(); batch += communicator.size()) {
    const size_t begin = batch == 0 ? 0 : ends[batch - 1];
    ScoreBatch(model, sequences, begin, ends[batch], device, scores);
    progress(static_cast<int64_t>(ends[batch]), count);
  }
  scores = scores.to(device);
  REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(scores));
  scores = scores.to(at::kCPU);
  for (int64_t index = 0; index < count; ++index) {
    const Sequence& sequence = sequences[index];
    questions.result.items[sequence.item].log_likelihoods[sequence.choice] = scores[index].item<double>();
  }
  return std::move(questions.result);
}

}  // namespace regroup
