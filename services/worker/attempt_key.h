// The identity of one attempt, as a value that can be compared and printed. Pure.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "regroup/v1/worker_service.pb.h"

namespace regroup {

struct AttemptKey {
  std::string job;
  std::string task;
  int64_t epoch = 0;

  auto operator<=>(const AttemptKey&) const = default;
  bool SameTask(const AttemptKey& other) const { return job == other.job && task == other.task; }
};

AttemptKey KeyOf(const v1::AttemptId& id);
v1::AttemptId ToProto(const AttemptKey& key);

/// "job/task/epoch"
std::string ToString(const AttemptKey& key);

/// <work>/jobs/<job>/<task>/<epoch>
std::filesystem::path AttemptFolder(const std::filesystem::path& work_folder, const AttemptKey& key);

}  // namespace regroup
