// Authenticates and authorizes calls by their token, the token's role and the table of rules. May be called from any
// thread.
//
// A token file that can no longer be read closes the door: none of its tokens is admitted until the file is repaired,
// because nobody can tell which of them it would have removed. JSON Web Tokens depend on files of their own
// (JwtIdentity).
#pragma once

#include <grpcpp/server_context.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"
#include "coordinator/access/jwt_identity.h"
#include "coordinator/access/refusal_budget.h"
#include "coordinator/access/token_watch.h"
#include "services/common/base/file_version.h"

namespace regroup {

/// A refused call as the audit log shows it.
struct Refusal {
  /// Without a name if it is unknown.
  Caller caller;
  std::string method;
  /// Empty if the request was not looked at.
  std::string resource;
  std::string why;
  /// Number of refusals before this one that are not told.
  int64_t left_out = 0;
};

struct AccessOptions {
  std::filesystem::path token_file;
  /// True if the file must exist. Otherwise every caller is admitted as kLocal until it does.
  bool needs_tokens = false;
  /// Admits callers with JSON Web Tokens too. Without a token file, these alone.
  JwtOptions jwt;
  /// Receives, on any thread, whether the token file and those of `jwt` can be read, at Load and whenever that changes.
  std::function<void(bool)> on_readable = [](bool) {};
  /// Receives, on any thread, refusals for the audit log, no more than RefusalBudget allows.
  std::function<void(const Refusal&)> on_refused = [](const Refusal&) {};
  /// The clock that the times of JSON Web Tokens are compared with.
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
};

class Access {
 public:
  /// Once the token file exists, or if there are keys for JSON Web Tokens, callers need a token. The next call sees a
  /// changed file.
  explicit Access(AccessOptions options);

  /// Reads the token file and those of `jwt`. FAILED_PRECONDITION if the token file must exist and does not; an error
  /// if one cannot be read.
  absl::Status Load();

  /// Returns true if callers need no token.
  bool IsOpen() const;

  /// Sets a check for calls that are otherwise allowed: unless it returns OK, they are rejected with its status. Call
  /// before the first Admit.
  void OpenOnlyWhile(std::function<absl::Status()> is_ready) { is_ready_ = std::move(is_ready); }

  /// Returns the caller. UNAUTHENTICATED (CREDENTIALS_REQUIRED) without a known token, PERMISSION_DENIED (NOT_ALLOWED)
  /// if the role may not make the call. `method` is as in AccessRules.
  /// UNAVAILABLE while the token file, or that of the keys or roles of a JSON Web Token, cannot be read.
  absl::StatusOr<Caller> Admit(const grpc::ServerContextBase& context, std::string_view method);

  /// Tells of a call that a later check refused to an admitted caller.
  void NoteRefused(const Caller& caller, std::string_view method, const std::string& resource, std::string_view why);

  /// Calls `end` within seconds of the removal or expiry of an admitted caller's token, or of damage to the token file,
  /// unless the returned handle is gone by then (TokenWatch). For what goes on after its call was admitted.
  [[nodiscard]] std::shared_ptr<void> EndWithToken(const Caller& caller, TokenWatch::End end) {
    return watch_.Watch(caller, std::move(end));
  }

  /// Ends the calls of `end`.
  void Stop() { watch_.Stop(); }

 private:
  absl::Status Read();
  void ReloadIfChanged();
  void Close(const absl::Status& why);
  absl::Status CheckIsValid(const Caller& caller);
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context);
  /// Returns the caller with that token of the token file.
  absl::StatusOr<Caller> FindInTokenFile(const std::string& token) const;
  void TellIfReadable();
  RefusalBudget& BudgetOf(const std::string& caller);
  void TellOfThoseLeftOut();

  const AccessOptions options_;
  std::function<absl::Status()> is_ready_ = [] { return absl::OkStatus(); };
  mutable std::mutex mutex_;
  /// True until the token file exists.
  bool is_open_ = true;
  /// OK, or the reason why the token file cannot be read.
  absl::Status closed_;
  /// Callers by the digest of their token.
  std::map<std::string, Caller> callers_;
  bool was_readable_ = true;
  /// Budgets by the caller's name, empty for all without a valid token: nobody uses up that of others.
  std::map<std::string, RefusalBudget> refusals_;
  FileVersion seen_;
  /// None if callers have no JSON Web Tokens.
  std::optional<JwtIdentity> jwt_;
  /// Declared last: its thread uses the others.
  TokenWatch watch_;
};

}  // namespace regroup
