// Ties the life of a process to that of its parent.
#pragma once

#include <sys/prctl.h>
#include <unistd.h>

namespace regroup {

/// Asks the kernel to send `signal` to this process when its parent ends. Call it early in main. Returns false if the
/// parent has ended already.
inline bool DieWithParent(int signal) {
  const pid_t parent = getppid();
  return prctl(PR_SET_PDEATHSIG, signal) == 0 && getppid() == parent;
}

}  // namespace regroup
