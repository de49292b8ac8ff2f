// How soon a client notices that a connection attempt got further.
#pragma once

namespace regroup {

/// gRPC looks at connections while some thread of the process waits for the answer of a call, and otherwise every 5 s
/// only. A program whose calls fail at once because the coordinator is being restarted, and who then sleeps a little,
/// would need half a minute for the few steps of a TLS handshake, and its attempts would be given up before. From now
/// on it looks ten times a second. Before the first use of gRPC; a value in the environment is left as it is.
void PollConnectionsOften();

}  // namespace regroup
