// Creates what a cluster needs before other machines can reach it: a certificate authority, certificates and a first
// token.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct InitOptions {
  std::filesystem::path folder;
  /// Names and addresses of the coordinator, in addition to this machine's own.
  std::vector<std::string> hosts;
  int days = 365;
};

/// Writes NAME.pem and NAME.key for authority, coordinator (a server), worker (both ends of a connection, under the
/// name regroup-worker only) and client, and the file `tokens` with one admin, whose token is returned. Keys are
/// readable by the owner only. ALREADY_EXISTS if the folder already holds an authority.
absl::StatusOr<std::string> InitFolder(const InitOptions& options);

}  // namespace regroup
