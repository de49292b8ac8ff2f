// Writes a first job file from what `inspect` says about a checkpoint. Pure.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "services/cli/data_choice.h"

namespace regroup {

/// The shape of a checkpoint, from the trainer's answer.
struct InspectedModel {
  std::string family;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  /// 0 if the configuration states none, as T5's.
  int64_t maximum_positions = 0;
  /// Numbers of KV heads to which it can be converted, its own first.
  std::vector<int> possible_kv_heads;
};

/// FAILED_PRECONDITION for a model with a single KV head, which cannot share any more. INTERNAL if the answer lacks a
/// figure.
absl::StatusOr<InspectedModel> InspectedModelOf(const nlohmann::json& answer);

/// Returns a quarter of the KV heads for multi-head attention, half of them for a model that shares heads already; the
/// nearest possible number below, or the smallest of all.
int SuggestedKvHeads(const InspectedModel& model);

/// Choices of the user; the rest follows from the model and the data.
struct FirstJobChoices {
  std::filesystem::path checkpoint;
  std::filesystem::path output;
  int kv_heads = 0;
  int steps = 200;
  /// GPUs of this machine.
  int gpus = 0;
};

/// Returns a job with recipe best. Absolute paths below `folder`, that of the job file, are made relative to it.
v1::JobSpec FirstJob(const InspectedModel& model, const DataChoice& data, const FirstJobChoices& choices,
                     const std::filesystem::path& folder);

/// Returns the name of the job and, by default, of its result: that of the checkpoint's folder and "-gqa2".
std::string FirstJobName(const std::filesystem::path& checkpoint, int kv_heads);

/// Returns the job as YAML with a comment above each key, and commented examples of keys that it leaves out.
std::string FirstJobText(const InspectedModel& model, const v1::JobSpec& job);

}  // namespace regroup
