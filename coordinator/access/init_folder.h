// What a cluster needs before it can be reached from other machines: an authority, certificates and a first token.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct InitOptions {
  std::filesystem::path folder;
  /// Names and addresses of the coordinator and of the workers, besides this machine's own.
  std::vector<std::string> hosts;
  int days = 365;
};

/// Makes authority, coordinator, worker and client, each NAME.pem and NAME.key, and the file `tokens` with one admin,
/// whose token is returned. Keys are readable by the owner only. ALREADY_EXISTS where the folder holds an authority.
absl::StatusOr<std::string> InitFolder(const InitOptions& options);

}  // namespace regroup
