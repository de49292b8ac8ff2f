// Authenticates and authorizes calls by their token, the token's role and the table of rules. May be called from any
// thread.
#pragma once

#include <grpcpp/server_context.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"

namespace regroup {

class Access {
 public:
  /// Without a token file every caller is admitted as kLocal; once the file exists, only its tokens are. The next call
  /// sees a changed file. If the file cannot be read, the previous tokens stay valid.
  explicit Access(std::filesystem::path token_file) : token_file_(std::move(token_file)) {}

  /// Reads the token file. Returns an error if it exists but cannot be read.
  absl::Status Load();

  /// Returns true if callers need no token.
  bool IsOpen() const;

  /// Sets a check for calls that are otherwise allowed: unless it returns OK, they are rejected with its status. Call
  /// before the first Admit.
  void OpenOnlyWhile(std::function<absl::Status()> is_ready) { is_ready_ = std::move(is_ready); }

  /// Returns the caller. UNAUTHENTICATED (CREDENTIALS_REQUIRED) without a known token, PERMISSION_DENIED (NOT_ALLOWED)
  /// if the role may not make the call. `method` is as in AccessRules.
  absl::StatusOr<Caller> Admit(const grpc::ServerContextBase& context, std::string_view method);

 private:
  void ReloadIfChanged();
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context);

  const std::filesystem::path token_file_;
  std::function<absl::Status()> is_ready_ = [] { return absl::OkStatus(); };
  mutable std::mutex mutex_;
  bool is_open_ = true;
  /// Callers by the digest of their token.
  std::map<std::string, Caller> callers_;
  struct stat seen_ {};
};

/// Returns PERMISSION_DENIED (NOT_ALLOWED) if the caller may not see jobs of this owner.
absl::Status CheckOwner(const Caller& caller, const std::string& job, const std::string& owner);

}  // namespace regroup
