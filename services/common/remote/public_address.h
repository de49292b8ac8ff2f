// Tells addresses of the public internet from those of private networks, of this machine and of reserved ranges.
#pragma once

#include <sys/socket.h>

namespace regroup {

/// Returns true for an IPv4 or IPv6 address that is globally reachable by the registries of special-purpose addresses
/// (RFC 6890 and its updates). An IPv4 address inside an IPv6 one counts as itself. Any thread.
bool IsPublicAddress(const sockaddr* address);

}  // namespace regroup
