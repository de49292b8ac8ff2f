// Loads the conversion that earlier tasks of the job computed.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Reads the results of the align tasks and, if there is one, of refine; in a sweep, those whose roles begin with
/// `prefix`. `kv_heads` is that of the arm with this prefix, if it is not the task's own. INTERNAL if an input is
/// missing, DATA_LOSS if a file lacks a tensor.
absl::StatusOr<Conversion> LoadConversion(const StageContext& context, const ModelConfig& config,
                                          const std::string& prefix = "", std::optional<int64_t> kv_heads = {});

}  // namespace regroup
