// Sets how soon a client notices progress of a connection attempt.
#pragma once

namespace regroup {

/// gRPC polls connections while a thread of the process waits for a call's answer, and otherwise only every 5 s. A
/// client whose calls fail at once because the coordinator restarts, and which sleeps in between, would need 30 s for
/// one TLS handshake and time out first. This makes gRPC poll ten times a second. Call before the first use of gRPC; a
/// value in the environment takes precedence.
void PollConnectionsOften();

}  // namespace regroup
