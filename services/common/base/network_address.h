// Form of network addresses that people write. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace regroup {

/// Returns the parts of "HOST:PORT, HOST:PORT", without the white space around them; a prefix "dns:///" is left out.
std::vector<std::string> AddressesIn(const std::string& text);

/// Returns OK for "HOST:PORT" with a port from `lowest_port` to 65535, for "unix:PATH", and for several of the first
/// with commas between them or behind "dns:///". INVALID_ARGUMENT says what is wrong: gRPC itself takes port 70000 as
/// 4464 and a missing one as 443.
absl::Status CheckAddress(const std::string& address, int lowest_port);

}  // namespace regroup
