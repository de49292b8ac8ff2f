// Measures multiple choice: which continuation of a context the model finds most likely, as lm-evaluation-harness does.
//
// The score of a choice is the summed log-likelihood, in nats, of the tokens of " " + choice after the context; two
// more scores divide it by the number of characters, and of bytes, of the choice alone. Whitespace at the end of the
// context counts to the continuation. The tokens of a choice are those that the encoding of context and continuation
// adds to the encoding of the context; after an empty context they follow the begin token, or the end token if there is
// none. An encoder-decoder reads the context with its encoder, and its decoder the continuation, encoded by itself.
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

/// Names what the summed log-likelihood of a choice is divided by.
enum class ChoiceLength { kNone, kCharacters, kBytes };

struct ChoiceItem {
  int64_t label = 0;
  /// One per choice.
  std::vector<double> log_likelihoods;
  std::vector<int64_t> characters;
  std::vector<int64_t> bytes;

  /// Returns the index of the best choice; of equal ones, the first. An empty choice is the worst by its length.
  int64_t Best(ChoiceLength length) const;
};

struct MultipleChoice {
  std::vector<ChoiceItem> items;
  /// SHA-256 of the data file.
  std::string data_digest;

  /// Returns the share of items whose best choice is correct; the next function returns its standard error.
  double Accuracy(ChoiceLength length) const;
  double StandardError(ChoiceLength length) const;
};

/// Returns the errors of the file and its lines; INVALID_ARGUMENT for a choice without tokens and for an empty
/// context if the tokenizer has neither a begin nor an end token. A context that is too long for the model loses its
/// beginning. The ranks share the choices; every rank gets the whole result. `progress`
/// receives the number of choices done and the total.
absl::StatusOr<MultipleChoice> MeasureMultipleChoice(const Model& model, const std::filesystem::path& data,
                                                     const Tokenizer& tokenizer, at::Device device,
                                                     Communicator& communicator,
                                                     const std::function<void(int64_t, int64_t)>& progress);

}  // namespace regroup
