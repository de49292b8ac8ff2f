// Counts Ctrl-C and SIGTERM for loops that poll the count.
#pragma once

namespace regroup {

/// From now on SIGINT, SIGTERM and SIGHUP are counted instead of ending the process. Call once, before threads start.
void CountInterrupts();

/// Returns how often the user asked to stop. May be called from any thread.
int Interrupts();

}  // namespace regroup
