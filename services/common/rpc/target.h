// Target of a channel: one coordinator, or the leader among several.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct Target {
  /// Target in gRPC's syntax.
  std::string uri;
  /// True if it may resolve to several servers, of which only one answers SERVING.
  bool has_several = false;
  /// Name that every server's certificate must contain; empty: the one in the address.
  std::string name;
  /// The addresses of the servers.
  std::vector<std::string> addresses;
};

/// Parses an address. "host:port" and "unix:/path" are one server. "host:port,host:port" and "dns:///host:port", whose
/// name has several addresses, are several. Names of a list are resolved here, once; gRPC resolves that of dns:///
/// again whenever a connection breaks. INVALID_ARGUMENT, or UNAVAILABLE if a name of a list is not found.
absl::StatusOr<Target> TargetOf(const std::string& address);

}  // namespace regroup
