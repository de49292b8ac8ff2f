// Finds processes by a marker in their environment, and kills them.
//
// Every trainer process has REGROUP_ATTEMPT and REGROUP_WORKER in its environment, and so do the processes that it
// starts, even after setsid or a double fork. The kernel shows the environment that a program was started with in
// /proc/<pid>/environ. Every function may be called from any thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace regroup {

/// Returns the processes, other than this one, whose environment holds every entry ("NAME=value"). A zombie's
/// environment is empty.
std::vector<pid_t> ProcessesWithEnvironment(const std::vector<std::string>& entries);

/// Sends SIGKILL to the processes that `find` returns until it returns none; `what` names them in the error. INTERNAL
/// if some survive for `patience`, which only a process stuck in the kernel can.
absl::Status KillUntilGone(const std::function<std::vector<pid_t>()>& find, std::chrono::milliseconds patience,
                           const std::string& what);

}  // namespace regroup
