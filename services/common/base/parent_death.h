// Ties a process's life to that of the one that started it.
#pragma once

#include <sys/prctl.h>
#include <unistd.h>

namespace regroup {

/// Asks the kernel for `signal` when the parent ends. Call it early in main. False if the parent ended meanwhile.
inline bool DieWithParent(int signal) {
  const pid_t parent = getppid();
  return prctl(PR_SET_PDEATHSIG, signal) == 0 && getppid() == parent;
}

}  // namespace regroup
