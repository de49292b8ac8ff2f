// Finds processes by a marker in their environment, and ends them for good.
//
// Every trainer process carries REGROUP_ATTEMPT and REGROUP_WORKER in its environment, and so does whatever it starts,
// even after setsid or a double fork. The kernel shows the environment a program was started with in
// /proc/<pid>/environ. Every function may be called from any thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace regroup {

/// Processes, other than this one, whose environment holds every entry ("NAME=value"). Zombies hold none.
std::vector<pid_t> ProcessesWithEnvironment(const std::vector<std::string>& entries);

/// Sends SIGKILL to whatever `find` returns until it returns nothing; `what` names them in the error.
/// INTERNAL if some live on after `patience`, which only a process stuck in the kernel can.
absl::Status KillUntilGone(const std::function<std::vector<pid_t>()>& find, std::chrono::milliseconds patience,
                           const std::string& what);

}  // namespace regroup
