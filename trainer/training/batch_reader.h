// Gathers the data that a rank reads in each step, one step ahead, on a thread of its own.
//
// The windows of a step depend only on its number and the seed. While a step runs, a thread gathers the tokens of the
// next one (the page cache may have to read them from disk). One thread may call it.
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
  /// If true, micro-batches include the documents of their tokens.
  bool with_documents = false;
  /// If true, uses pinned memory, from which copies to a GPU are asynchronous.
  bool pinned = false;
  int64_t rank = 0;
  int64_t ranks = 1;
};

/// Data of one forward and backward pass, on the CPU until it is moved: B windows of T tokens.
struct MicroBatch {
  std::vector<int64_t> windows;
  /// int64 [B, T].
  at::Tensor tokens;
  /// See WindowOptions; undefined without `with_documents`.
  at::Tensor documents;
  /// The documents on the CPU, once the others were moved.
  at::Tensor host_documents;
  /// See TokenWindows::AnswerPlaces, int64, counted over [B x TokenWindows::places]; undefined for plain texts.
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

  /// Returns this rank's part of a step, and starts to gather the next step in the background.
  StepBatch Take(int64_t step);

 private:
  StepBatch Gather(int64_t step);
  MicroBatch GatherMicroBatch(std::vector<int64_t> windows) const;
  /// Returns the window at a position in the endless sequence of passes over the data.
  int64_t WindowAt(int64_t position);
  int64_t AnswersOf(int64_t step);

  const TokenWindows& windows_;
  const BatchSettings settings_;
  /// Order of the windows in the most recently used pass over the data.
  int64_t pass_ = -1;
  std::vector<int64_t> order_;
  int64_t next_step_ = -1;
  /// Declared last: its destructor waits for the thread that uses all of the above.
  std::future<StepBatch> next_;
};

}  // namespace regroup
