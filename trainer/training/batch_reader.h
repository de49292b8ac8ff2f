// What a rank reads in each step, gathered ahead by a thread of its own.
//
// Which windows a step has follows from its number and the seed alone. While a step runs, a thread puts the tokens of
// the next one together (the page cache may have to read them from disk). One thread may call it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <future>
#include <vector>

#include "trainer/data/token_windows.h"

namespace regroup {

struct BatchSettings {
  /// Sequences of one step over all ranks; a multiple of ranks x micro_batch_sequences.
  int64_t batch_sequences = 0;
  int64_t micro_batch_sequences = 1;
  uint64_t seed = 0;
  /// Whether the documents of tokens are wanted.
  bool with_documents = false;
  /// Memory from which copies to a GPU do not wait.
  bool pinned = false;
  int64_t rank = 0;
  int64_t ranks = 1;
};

/// What one forward and backward pass reads, on the CPU. B windows of T tokens.
struct MicroBatch {
  std::vector<int64_t> windows;
  /// int64 [B, T].
  at::Tensor tokens;
  /// See WindowOptions; undefined where they are not wanted.
  at::Tensor documents;
  /// Places behind which stands a token of an answer, int64, counted over [B x T]; undefined for plain texts.
  at::Tensor answers;
};

struct StepBatch {
  std::vector<MicroBatch> micro_batches;
  /// Answer tokens of all ranks.
  int64_t answers = 0;
};

class BatchReader {
 public:
  /// `windows` must outlive it.
  BatchReader(const TokenWindows& windows, BatchSettings settings) : windows_(windows), settings_(settings) {}

  /// This rank's part of a step. The next step is then gathered beside the caller.
  StepBatch Take(int64_t step);

 private:
  StepBatch Gather(int64_t step);
  MicroBatch GatherMicroBatch(std::vector<int64_t> windows) const;
  /// The window at a place in the endless sequence of passes over the data.
  int64_t WindowAt(int64_t position);
  int64_t AnswersOf(int64_t step);

  const TokenWindows& windows_;
  const BatchSettings settings_;
  /// Order of the windows in the pass over the data that was looked at last.
  int64_t pass_ = -1;
  std::vector<int64_t> order_;
  int64_t next_step_ = -1;
  /// Last: its destructor waits for the thread that uses all of the above.
  std::future<StepBatch> next_;
};

}  // namespace regroup
