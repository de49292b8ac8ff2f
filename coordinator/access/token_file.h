// The file that says which token stands for whom: a line "NAME ROLE SHA256 TIME" for each. Tokens themselves are never
// written; a token is 256 random bits, so that its plain SHA-256 cannot be searched.
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
  /// When it was made, RFC 3339.
  std::string created;
};

/// NOT_FOUND where there is no file; INVALID_ARGUMENT naming the line that cannot be read.
absl::StatusOr<std::vector<TokenEntry>> ReadTokens(const std::filesystem::path& file);

/// Makes a token and returns it: the only time it is seen. ALREADY_EXISTS for a name that is taken, INVALID_ARGUMENT
/// for one of another form.
absl::StatusOr<std::string> AddToken(const std::filesystem::path& file, const std::string& name, Role role);

/// NOT_FOUND for an unknown name. The token is refused from the next call on.
absl::Status RemoveToken(const std::filesystem::path& file, const std::string& name);

}  // namespace regroup
