#include "trainer/training/batch_reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "trainer/data/shuffled_order.h"

namespace regroup {

StepBatch BatchReader::Take(int64_t step) {
  StepBatch batch;
  if (next_.valid()) batch = next_.get();
  // After training returned to a checkpoint, the prepared batch belongs to another step.
  if (next_step_ != step) batch = Gather(step);
  next_step_ = step + 1;
  next_ = std::async(std::launch::async, [this, next = next_step_] { return Gather(next); });
  return batch;
}

StepBatch BatchReader::Gather(int64_t step) {
  const int64_t own = settings_.batch_sequences / settings_.ranks;
  const int64_t first = step * settings_.batch_sequences + settings_.rank * own;
  StepBatch batch;
  for (int64_t begin = 0; begin < own; begin += settings_.micro_batch_sequences) {
    std::vector<int64_t> windows;
    const int64_t end = std::min(begin + settings_.micro_batch_sequences, own);
    for (int64_t place = begin; place < end; ++place) windows.push_back(WindowAt(first + place));
    batch.micro_batches.push_back(GatherMicroBatch(std::move(windows)));
  }
  if (windows_.has_answers()) batch.answers = AnswersOf(step);
  return batch;
}

MicroBatch BatchReader::GatherMicroBatch(std::vector<int64_t> windows) const {
  const int64_t length = windows_.sequence_length(), rows = std::ssize(windows);
  const at::TensorOptions options = at::TensorOptions(at::kLong).pinned_memory(settings_.pinned);
  MicroBatch batch{.tokens = at::empty({rows, length}, options)};
  if (settings_.with_documents) batch.documents = at::empty({rows, length}, options);
  std::vector<int64_t> answers;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t window = windows[static_cast<size_t>(row)];
    windows_.Copy(window, batch.tokens.mutable_data_ptr<int64_t>() + row * length);
    if (settings_.with_documents) {
      const std::vector<int64_t> documents = windows_.Documents(window);
      std::copy(documents.begin(), documents.end(), batch.documents.mutable_data_ptr<int64_t>() + row * length);
    }
    for (const int64_t place : windows_.AnswerPlaces(window)) answers.push_back(row * windows_.places() + place);
  }
  if (windows_.has_answers()) batch.answers = at::tensor(answers, at::kLong);
  batch.windows = std::move(windows);
  return batch;
}

int64_t BatchReader::WindowAt(int64_t position) {
  const int64_t pass = position / windows_.windows();
  if (pass != pass_) {
    order_ = ShuffledOrder(windows_.windows(), settings_.seed + static_cast<uint64_t>(pass));
    pass_ = pass;
  }
  return order_[static_cast<size_t>(position % windows_.windows())];
}

int64_t BatchReader::AnswersOf(int64_t step) {
  int64_t answers = 0;
  for (int64_t place = 0; place < settings_.batch_sequences; ++place) {
    answers += std::ssize(windows_.AnswerPlaces(WindowAt(step * settings_.batch_sequences + place)));
  }
  return answers;
}

}  // namespace regroup
