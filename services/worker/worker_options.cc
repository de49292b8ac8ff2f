#include "services/worker/worker_options.h"

#include <fmt/format.h>

#include "services/common/base/sha256.h"

namespace regroup {

std::string WorkerKey(const WorkerOptions& options) {
  return Sha256Of(fmt::format("{}\n{}", options.id, options.work_folder.lexically_normal().string())).substr(0, 12);
}

std::string ControlGroupPrefix(const WorkerOptions& options) { return fmt::format("regroup-{}-", WorkerKey(options)); }

std::string WorkerMarker(const WorkerOptions& options) {
  return fmt::format("REGROUP_WORKER={}@{}", options.id, WorkerKey(options));
}

}  // namespace regroup
