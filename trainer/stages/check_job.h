// Checks a job against its source: everything that `run` refuses in its first stage and `plan` can see too.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "trainer/data/tokenizer.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {

/// Opens the tokenizer and the companion files, and reads the beginning of each data file. Returns the tokenizer,
/// bounded by the model's vocabulary. The error names the key of the job file.
absl::StatusOr<std::shared_ptr<const Tokenizer>> CheckJob(const v1::JobSpec& spec, const SourceModel& source);

/// Encodes all text that the job will use if the tokenizer has more tokens than the model, and returns DATA_LOSS with
/// the first token that the model does not have. Reading the text takes a while, but a later stage would fail at it.
absl::Status CheckTokens(const v1::JobSpec& spec, const ModelConfig& config, const Tokenizer& tokenizer);

}  // namespace regroup
