// Computes what a server can hold of a job's source and result, for `regroup plan` and the report.
#pragma once

#include <cstdint>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "trainer/nn/model_config.h"
#include "trainer/nn/serving.h"

namespace regroup {

struct ServedSource {
  const ModelConfig& config;
  int64_t parameters = 0;
  /// Bytes of a stored weight.
  int64_t element_bytes = 2;
};

/// Returns the tokens of a request: serving.context_length, at most the model's positions, which are the default.
int64_t ServedContext(const v1::JobSpec& resolved, const ModelConfig& config);

/// Returns a row for each usual number of GPUs and for target.tensor_parallel; none for an encoder-decoder, whose cache
/// also depends on the length of its input. `result` has the shape of the result.
std::vector<ServingRow> ServingRows(const v1::JobSpec& resolved, const ServedSource& source, const ModelConfig& result);

}  // namespace regroup
