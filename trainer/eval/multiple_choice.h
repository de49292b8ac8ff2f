// Multiple choice: which continuation of a context does the model find most likely?
//
// The score of a choice is the log-likelihood, in nats, of the tokens of " " + choice after the context, summed; and
// the same divided by the number of bytes of " " + choice. Its tokens are those that the encoding of context + " " +
// choice has beyond the encoding of the context. An encoder-decoder reads the context with its encoder.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/text_reader.h"
#include "trainer/data/tokenizer.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct ChoiceItem {
  int64_t label = 0;
  /// One per choice.
  std::vector<double> log_likelihoods;
  std::vector<int64_t> bytes;

  /// The first of the best.
  int64_t Best(bool per_byte) const;
};

struct MultipleChoice {
  std::vector<ChoiceItem> items;

  /// Share of items whose best choice is right, and its standard error.
  double Accuracy(bool per_byte) const;
  double StandardError(bool per_byte) const;
};

/// Errors: those of the file and its lines; INVALID_ARGUMENT for a choice without tokens. A context that is too long
/// for the model loses its beginning. The ranks share the choices; all get the whole result. `progress` gets choices
/// done and in all.
absl::StatusOr<MultipleChoice> MeasureMultipleChoice(const Model& model, const std::filesystem::path& data,
                                                     const Tokenizer& tokenizer, at::Device device,
                                                     Communicator& communicator,
                                                     const std::function<void(int64_t, int64_t)>& progress);

}  // namespace regroup
