// The token file: one line "NAME ROLE SHA256 TIME [WORKER]" for each token. Tokens themselves are never written; a
// token is 256 random bits, so its plain SHA-256 cannot be reversed by search.
//
// The file may be changed while coordinators read it: every change is one rename, made under a lock. Functions may be
// called from any thread and any process.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"

namespace regroup {

struct TokenEntry {
  std::string name;
  Role role = Role::kViewer;
  /// SHA-256 of the token, hexadecimal.
  std::string digest;
  /// Creation time, RFC 3339.
  std::string created;
  /// The workers that a worker's token speaks for, see worker_binding.h; empty for the worker with the token's name.
  std::string worker = "";
};

/// Form of the names of callers, and of the owners of their jobs.
inline constexpr char kFormOfCallerName[] = "use at most 63 lower-case letters, digits, hyphens and dots";
bool IsCallerName(std::string_view name);

/// Returns the workers that the token speaks for; empty for other roles than worker.
std::string BoundWorker(const TokenEntry& token);

/// Returns the file's entries. NOT_FOUND if there is no file; INVALID_ARGUMENT names the malformed line.
absl::StatusOr<std::vector<TokenEntry>> ReadTokens(const std::filesystem::path& file);

/// Creates a token and returns it; it cannot be read again later. ALREADY_EXISTS if the name is taken, INVALID_ARGUMENT
/// if the name or `worker` is malformed, or if `worker` is given for another role.
absl::StatusOr<std::string> AddToken(const std::filesystem::path& file, const std::string& name, Role role,
                                     const std::string& worker = "");

/// Binds an existing worker's token to other workers, from the next call on. NOT_FOUND for an unknown name,
/// INVALID_ARGUMENT for a token of another role or a malformed binding.
absl::Status BindToken(const std::filesystem::path& file, const std::string& name, const std::string& worker);

/// Removes a token, which is rejected from the next call on. NOT_FOUND for an unknown name.
absl::Status RemoveToken(const std::filesystem::path& file, const std::string& name);

}  // namespace regroup
