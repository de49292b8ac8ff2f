// Scores the ends of token sequences: how likely a model finds them after what stands before.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct ScoredTokens {
  std::vector<int32_t> tokens;
  /// The number of tokens at the end that are scored; at least one stands before them, which an encoder reads.
  int64_t scored = 0;
};

/// Returns for each sequence the summed log-likelihood, in nats, of its scored tokens. The ranks of `communicator`
/// share the sequences; every rank gets all scores. `progress` receives the number of sequences done and the total.
absl::StatusOr<std::vector<double>> ScoreSequences(const Model& model, const std::vector<ScoredTokens>& sequences,
                                                   at::Device device, Communicator& communicator,
                                                   const std::function<void(int64_t, int64_t)>& progress);

}  // namespace regroup
