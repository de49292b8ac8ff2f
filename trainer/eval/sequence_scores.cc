#include "trainer/eval/sequence_scores.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "services/common/base/status_macros.h"
#include "trainer/eval/perplexity.h"

namespace regroup {
namespace {

constexpr size_t kTokensPerBatch = 4096;

using Sorted = std::vector<const ScoredTokens*>;

/// Returns the places of the sequences in the order of their lengths, the longest first, so that rows of a batch have
/// similar lengths and the largest batch runs while memory is free.
std::vector<size_t> LongestFirst(const std::vector<ScoredTokens>& sequences) {
  std::vector<size_t> places(sequences.size());
  std::iota(places.begin(), places.end(), size_t{0});
  std::stable_sort(places.begin(), places.end(),
                   [&](size_t a, size_t b) { return sequences[a].tokens.size() > sequences[b].tokens.size(); });
  return places;
}

/// Returns the batch right-padded with token 0, which a causal model's earlier positions do not see.
at::Tensor PaddedBatch(const Sorted& sequences, size_t begin, size_t end) {
  const int64_t longest = std::ssize(sequences[begin]->tokens);
  at::Tensor batch = at::zeros({static_cast<int64_t>(end - begin), longest}, at::kLong);
  for (size_t row = begin; row < end; ++row) {
    int64_t* const values = batch.mutable_data_ptr<int64_t>() + static_cast<int64_t>(row - begin) * longest;
    std::copy(sequences[row]->tokens.begin(), sequences[row]->tokens.end(), values);
  }
  return batch;
}

/// Returns the end of each batch. An encoder would see padding, so its contexts are not batched with others.
std::vector<size_t> BatchEnds(const Sorted& sequences, bool has_encoder) {
  std::vector<size_t> ends;
  for (size_t begin = 0; begin < sequences.size(); begin = ends.back()) {
    const size_t rows = has_encoder ? 1 : std::max<size_t>(1, kTokensPerBatch / sequences[begin]->tokens.size());
    ends.push_back(std::min(begin + rows, sequences.size()));
  }
  return ends;
}

/// Writes the scores of the sequences in [begin, end) to `scores`.
void ScoreBatch(const Model& model, const Sorted& sequences, size_t begin, size_t end, at::Device device,
                at::Tensor& scores) {
  const bool encodes = model.config.HasEncoder();
  const int64_t context = std::ssize(sequences[begin]->tokens) - sequences[begin]->scored;
  const at::Tensor losses =
      TokenLosses(model, PaddedBatch(sequences, begin, end).to(device), {.encoder_tokens = context})
          .to(at::kCPU, at::kDouble);
  for (size_t row = begin; row < end; ++row) {
    const ScoredTokens& sequence = *sequences[row];
    const int64_t start = encodes ? 0 : std::ssize(sequence.tokens) - 1 - sequence.scored;
    const at::Tensor own = losses[static_cast<int64_t>(row - begin)].narrow(0, start, sequence.scored);
    scores[static_cast<int64_t>(row)] = -own.sum();
  }
}

}  // namespace

absl::StatusOr<std::vector<double>> ScoreSequences(const Model& model, const std::vector<ScoredTokens>& sequences,
                                                   at::Device device, Communicator& communicator,
                                                   const std::function<void(int64_t, int64_t)>& progress) {
  const std::vector<size_t> places = LongestFirst(sequences);
  Sorted sorted;
  for (const size_t place : places) sorted.push_back(&sequences[place]);
  const int64_t count = std::ssize(sequences);
  at::Tensor scores = at::zeros({count}, at::kDouble);
  const std::vector<size_t> ends = BatchEnds(sorted, model.config.HasEncoder());
  for (size_t batch = communicator.rank(); batch < ends.size(); batch += communicator.size()) {
    ScoreBatch(model, sorted, batch == 0 ? 0 : ends[batch - 1], ends[batch], device, scores);
    progress(static_cast<int64_t>(ends[batch]), count);
  }
  scores = scores.to(device);
  REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(scores));
  scores = scores.to(at::kCPU);
  std::vector<double> in_order(sequences.size());
  for (size_t index = 0; index < places.size(); ++index) {
    in_order[places[index]] = scores[static_cast<int64_t>(index)].item<double>();
  }
  return in_order;
}

}  // namespace regroup
