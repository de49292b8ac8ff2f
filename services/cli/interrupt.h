// Ctrl-C and SIGTERM, as a number that loops look at.
#pragma once

namespace regroup {

/// From now on SIGINT, SIGTERM and SIGHUP are counted instead of ending the process. Call once, before threads start.
void CountInterrupts();

/// How often the user asked to stop. From any thread.
int Interrupts();

}  // namespace regroup
