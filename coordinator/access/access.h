// Authenticates and authorizes calls by their token, the token's role and the table of rules. May be called from any
// thread.
//
// A token file that can no longer be read closes the door: no token is admitted until the file is repaired, because
// nobody can tell which of them it would have removed.
#pragma once

#include <grpcpp/server_context.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"
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
  /// Receives, on any thread, whether the token file can be read, at Load and whenever that changes.
  std::function<void(bool)> on_readable = [](bool) {};
  /// Receives, on any thread, refusals for the audit log, no more than RefusalBudget allows.
  std::function<void(const Refusal&)> on_refused = [](const Refusal&) {};
};

class Access {
 public:
  /// Once the token file exists, only its tokens are admitted. The next call sees a changed file.
  explicit Access(AccessOptions options);

  /// Reads the token file. FAILED_PRECONDITION if it must exist and does not; an error if it cannot be read.
  absl::Status Load();

  /// Returns true if callers need no token.
  bool IsOpen() const;

  /// Sets a check for calls that are otherwise allowed: unless it returns OK, they are rejected with its status. Call
  /// before the first Admit.
  void OpenOnlyWhile(std::function<absl::Status()> is_ready) { is_ready_ = std::move(is_ready); }

  /// Returns the caller. UNAUTHENTICATED (CREDENTIALS_REQUIRED) without a known token, PERMISSION_DENIED (NOT_ALLOWED)
  /// if the role may not make the call. `method` is as in AccessRules.
  /// UNAVAILABLE while the token file cannot be read.
  absl::StatusOr<Caller> Admit(const grpc::ServerContextBase& context, std::string_view method);

  /// Tells of a call that a later check refused to an admitted caller.
  void NoteRefused(const Caller& caller, std::string_view method, const std::string& resource, std::string_view why);

  /// Calls `end` within seconds of the removal of an admitted caller's token, or of damage to the token file, unless
  /// the returned handle is gone by then (TokenWatch). For what goes on after its call was admitted.
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
  RefusalBudget& BudgetOf(const std::string& caller);
  void TellOfThoseLeftOut();

  const AccessOptions options_;
  std::function<absl::Status()> is_ready_ = [] { return absl::OkStatus(); };
  mutable std::mutex mutex_;
  bool is_open_ = true;
  /// OK, or the reason why the token file cannot be read.
  absl::Status closed_;
  /// Callers by the digest of their token.
  std::map<std::string, Caller> callers_;
  /// Budgets by the caller's name, empty for all without a valid token: nobody uses up that of others.
  std::map<std::string, RefusalBudget> refusals_;
  FileVersion seen_;
  /// Declared last: its thread uses the others.
  TokenWatch watch_;
};

}  // namespace regroup
