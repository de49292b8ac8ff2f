// Measures whether a model finds a fact that stands far back in its context (a needle test): a sentence with a number
// is put into filler text, and the model must prefer that number to three others at the end.
//
// Merged keys may lose far tokens first, which the perplexity of a whole window hides.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/token_windows.h"
#include "trainer/data/tokenizer.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct NeedleSettings {
  /// Tokens of the whole context, question included.
  std::vector<int64_t> context_lengths;
  /// Items for each length and depth.
  int64_t items = 16;
};

struct NeedleCell {
  int64_t context_length = 0;
  /// Place of the sentence: 0 at the beginning of the filler, 1 at its end.
  double depth = 0;
  int64_t items = 0;
  int64_t right = 0;
};

/// Returns a cell for each length and each of five depths. Chance is a quarter. The filler is taken from `filler`,
/// whose windows are joined; items begin at different places. INVALID_ARGUMENT if it is too short for a length, or the
/// length too short for the sentences. The ranks share the items; every rank gets all cells.
absl::StatusOr<std::vector<NeedleCell>> MeasureNeedle(const Model& model, const TokenWindows& filler,
                                                      const Tokenizer& tokenizer, const NeedleSettings& settings,
                                                      at::Device device, Communicator& communicator,
                                                      const std::function<void(int64_t, int64_t)>& progress);

}  // namespace regroup
