// Builds the output of `regroup families` and `regroup inspect`, as JSON.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "trainer/data/tokenizer.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {

/// Returns [{"family", "model_types", "layout", "vllm", "llama_cpp", "onnxruntime_genai"}]; the last three tell how
/// these engines serve a result.
nlohmann::ordered_json DescribeFamilies();

/// Returns the family, the sizes, the KV cache bytes per token and the numbers of KV heads that the model can be
/// converted to. Returns the errors of the source and of its tokenizer.
absl::StatusOr<nlohmann::ordered_json> DescribeCheckpoint(const std::filesystem::path& folder);

/// Returns the limits of the conversion for this model, and what its tokenizer has beyond it, one sentence each.
std::vector<std::string> NotesOn(const SourceModel& source, const Tokenizer& tokenizer);

/// Returns the summary of the source, without the digests.
v1::ModelSummary SummaryOf(const SourceModel& source);

/// Returns the type's name, such as "float32" or "bfloat16".
std::string DtypeName(at::ScalarType type);

}  // namespace regroup
