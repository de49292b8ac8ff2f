#include "coordinator/access/access.h"

#include <fmt/format.h>

#include "coordinator/access/token_file.h"
#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/bearer_token.h"

namespace regroup {
namespace {

bool IsSameFile(const struct stat& a, const struct stat& b) {
  return a.st_ino == b.st_ino && a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

absl::Status Unauthenticated(const std::string& message) {
  return MakeError(absl::StatusCode::kUnauthenticated, v1::CREDENTIALS_REQUIRED, message);
}

/// Returns the call's token; empty if it carries none, or more than one.
std::string TokenOf(const grpc::ServerContextBase& context) {
  const auto [first, last] = context.client_metadata().equal_range(kAuthorizationHeader);
  if (first == last || std::next(first) != last) return "";
  const std::string_view value(first->second.data(), first->second.size());
  return value.starts_with(kBearerPrefix) ? std::string(value.substr(std::string_view(kBearerPrefix).size())) : "";
}

}  // namespace

absl::Status Access::Load() {
  struct stat now {};
  if (stat(token_file_.c_str(), &now) != 0) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const std::vector<TokenEntry> tokens, ReadTokens(token_file_));
  callers_.clear();
  for (const TokenEntry& token : tokens) callers_[token.digest] = {token.name, token.role, ""};
  is_open_ = false;
  seen_ = now;
  return absl::OkStatus();
}

bool Access::IsOpen() const {
  const std::lock_guard lock(mutex_);
  return is_open_;
}

void Access::ReloadIfChanged() {
  struct stat now {};
  if (stat(token_file_.c_str(), &now) != 0 || IsSameFile(now, seen_)) return;
  const absl::Status status = Load();
  if (status.ok()) {
    LogInfo("tokens reloaded", {{"file", token_file_.string()}, {"tokens", callers_.size()}});
  } else {
    LogError("cannot reload the tokens", {{"reason", std::string(status.message())}});
    is_open_ = false;
    seen_ = now;
  }
}

absl::StatusOr<Caller> Access::Identify(const grpc::ServerContextBase& context) {
  const std::lock_guard lock(mutex_);
  ReloadIfChanged();
  if (is_open_) return Caller();
  const std::string token = TokenOf(context);
  if (token.empty()) return Unauthenticated("the call carries no token; give one with --token-file");
  const auto found = callers_.find(Sha256Of(token));
  if (found == callers_.end()) return Unauthenticated("the token is unknown or was removed");
  return found->second;
}

absl::StatusOr<Caller> Access::Admit(const grpc::ServerContextBase& context, std::string_view method) {
  absl::StatusOr<Caller> caller = Identify(context);
  if (caller.ok()) caller->peer = context.peer();
  if (caller.ok() && MayCall(caller->role, method)) {
    REGROUP_RETURN_IF_ERROR(is_ready_());
    return caller;
  }
  const absl::Status refusal =
      caller.ok() ? MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
                              fmt::format("{} is allowed for {}; \"{}\" is {}", method, RolesThatMayCall(method),
                                          caller->name, RoleName(caller->role)))
                  : caller.status();
  LogWarning("call rejected", {{"method", method},
                               {"peer", context.peer()},
                               {"caller", caller.ok() ? caller->name : ""},
                               {"reason", std::string(refusal.message())}});
  return refusal;
}

absl::Status CheckOwner(const Caller& caller, const std::string& job, const std::string& owner) {
  if (caller.SeesJobOf(owner)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
                   fmt::format("job \"{}\" does not belong to \"{}\"", job, caller.name));
}

}  // namespace regroup
