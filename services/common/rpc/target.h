// What a channel connects to: one coordinator, or the one that leads among several.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct Target {
  /// As gRPC takes it.
  std::string uri;
  /// Whether several servers may be behind it, of which only one answers SERVING.
  bool has_several = false;
  /// The name that every server's certificate must hold; empty: the one in the address.
  std::string name;
  /// The addresses in it.
  std::vector<std::string> addresses;
};

/// "host:port" or "unix:/path" is one server. "host:port,host:port" and "dns:///host:port", where the name has several
/// addresses, are several. A list's names are looked up here, once; that of dns:/// again whenever a connection breaks.
/// INVALID_ARGUMENT, or UNAVAILABLE where a name of a list is not found.
absl::StatusOr<Target> TargetOf(const std::string& address);

}  // namespace regroup
