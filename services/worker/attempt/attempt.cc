#include "services/worker/attempt/attempt.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/worker/attempt/gang_helper_attempt.h"
#include "services/worker/attempt/task_attempt.h"

namespace regroup {

std::unique_ptr<Attempt> StartAttempt(v1::TaskAssignment assignment, std::string visible_devices,
                                      const AttemptServices* services, Attempt::EndCallback on_end) {
  if (assignment.gang().member() > 0) {
    return std::make_unique<GangHelperAttempt>(std::move(assignment), std::move(visible_devices), services,
                                               std::move(on_end));
  }
  return std::make_unique<TaskAttempt>(std::move(assignment), std::move(visible_devices), services, std::move(on_end));
}

void AddStopRequest(StopRequest request, std::optional<StopRequest>& requested) {
  if (!requested) {
    requested = std::move(request);
  } else {
    requested->at_once |= request.at_once;
  }
}

void KillEverythingOf(const AttemptKey& key, ProcessGroup& processes) {
  // The end may be announced only when nothing is left.
  while (true) {
    const absl::Status status = processes.KillEverything();
    if (status.ok()) return;
    LogError(std::string(status.message()), {{"job", key.job}, {"task", key.task}, {"epoch", key.epoch}});
  }
}

int NextAttemptNumber() {
  static std::atomic<int> number{0};
  return ++number;
}

absl::Status MakeFreshFolder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) return ErrnoStatus(error.value(), "remove", folder);
  return MakeFolders(folder);
}

int RanksHere(const v1::TaskAssignment& assignment) {
  const v1::Gang& gang = assignment.gang();
  const bool is_member = gang.member() >= 0 && gang.member() < gang.members_size();
  return std::max(1, is_member ? gang.members(gang.member()).ranks() : assignment.ranks());
}

}  // namespace regroup
