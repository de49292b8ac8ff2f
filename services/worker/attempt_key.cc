#include "services/worker/attempt_key.h"

#include <fmt/format.h>

#include "services/common/base/attempt_files.h"

namespace regroup {

AttemptKey KeyOf(const v1::AttemptId& id) { return {.job = id.job(), .task = id.task(), .epoch = id.epoch()}; }

v1::AttemptId ToProto(const AttemptKey& key) {
  v1::AttemptId id;
  id.set_job(key.job);
  id.set_task(key.task);
  id.set_epoch(key.epoch);
  return id;
}

std::string ToString(const AttemptKey& key) { return fmt::format("{}/{}/{}", key.job, key.task, key.epoch); }

std::filesystem::path AttemptFolder(const std::filesystem::path& work_folder, const AttemptKey& key) {
  return JobFolder(work_folder, key.job) / key.task / std::to_string(key.epoch);
}

}  // namespace regroup
