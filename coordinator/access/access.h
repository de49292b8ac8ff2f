// Lets calls in: by their token, the token's role and the table of rules. May be called from any thread.
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
  /// Without such a file everybody is let in, as kLocal; from the moment it exists only its tokens are. Changes are
  /// seen by the next call. A file that cannot be read leaves the tokens as they were.
  explicit Access(std::filesystem::path token_file) : token_file_(std::move(token_file)) {}

  /// Reads the file. An error where it is there and cannot be read.
  absl::Status Load();

  /// Whether everybody is let in.
  bool IsOpen() const;

  /// Calls of those who may make them are refused with what this says, unless it says OK. Before the first call.
  void OpenOnlyWhile(std::function<absl::Status()> is_ready) { is_ready_ = std::move(is_ready); }

  /// UNAUTHENTICATED (CREDENTIALS_REQUIRED) without a known token, PERMISSION_DENIED (NOT_ALLOWED) where the role may
  /// not make the call. `method` is as in AccessRules.
  absl::StatusOr<Caller> Admit(const grpc::ServerContextBase& context, std::string_view method);

 private:
  void ReloadIfChanged();
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context);

  const std::filesystem::path token_file_;
  std::function<absl::Status()> is_ready_ = [] { return absl::OkStatus(); };
  mutable std::mutex mutex_;
  bool is_open_ = true;
  /// By the token's digest.
  std::map<std::string, Caller> callers_;
  struct stat seen_ {};
};

/// PERMISSION_DENIED (NOT_ALLOWED) where the job belongs to somebody whose jobs the caller does not see.
absl::Status CheckOwner(const Caller& caller, const std::string& job, const std::string& owner);

}  // namespace regroup
