#include "services/worker/process/leftovers.h"

#include <fmt/format.h>

#include <chrono>
#include <vector>

#include "services/common/base/logging.h"
#include "services/worker/process/control_group.h"
#include "services/worker/process/process_scan.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kPatience{20};

}  // namespace

absl::Status KillLeftovers(const WorkerOptions& options) {
  const std::vector<ControlGroup> groups = ControlGroup::Leftovers(ControlGroupPrefix(options));
  const auto find = [&] {
    std::vector<pid_t> left = ProcessesWithEnvironment({WorkerMarker(options)});
    for (const ControlGroup& group : groups) {
      for (const pid_t pid : group.Processes()) left.push_back(pid);
    }
    return left;
  };
  const size_t count = find().size();
  if (count > 0) LogWarning("killing processes that a predecessor left running", {{"processes", count}});
  return KillUntilGone(find, kPatience, fmt::format("the predecessor of worker {}", options.id));
}

}  // namespace regroup
