// What `regroup families` and `regroup inspect` show, as JSON.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {

/// [{"family", "model_types", "layout"}]
nlohmann::ordered_json DescribeFamilies();

/// Family, sizes, KV cache bytes per token and the KV heads it can be converted to.
absl::StatusOr<nlohmann::ordered_json> DescribeCheckpoint(const std::filesystem::path& folder);

/// What the conversion cannot do for a model of this kind, one sentence each.
std::vector<std::string> NotesOn(const ModelConfig& config);

/// Everything but the digests.
v1::ModelSummary SummaryOf(const SourceModel& source);

/// "float32", "float16" or "bfloat16".
std::string DtypeName(at::ScalarType type);

}  // namespace regroup
