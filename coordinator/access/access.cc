#include "coordinator/access/access.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "coordinator/access/json_web_token.h"
#include "coordinator/access/token_file.h"
#include "services/common/base/error.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/bearer_token.h"

namespace regroup {
namespace {

/// Time after which the removal of a token is noticed without a call.
constexpr std::chrono::milliseconds kWatchInterval(1000);
/// Callers with a budget of their own for refusals; those of JSON Web Tokens can have any number of names.
constexpr size_t kMostBudgets = 10'000;

absl::Status Unauthenticated(const std::string& message) {
  return MakeError(absl::StatusCode::kUnauthenticated, v1::CREDENTIALS_REQUIRED, message);
}

/// Retrying helps once an administrator has repaired the file, so workers go on meanwhile.
absl::Status Closed() {
  return MakeError(
      absl::StatusCode::kUnavailable, v1::TOKENS_UNREADABLE,
      "the coordinator rejects every token of its token file because it cannot read the file; its log says why");
}

/// Returns the call's token; empty if it carries none, or more than one.
std::string TokenOf(const grpc::ServerContextBase& context) {
  const auto [first, last] = context.client_metadata().equal_range(kAuthorizationHeader);
  if (first == last || std::next(first) != last) return "";
  const std::string_view value(first->second.data(), first->second.size());
  return value.starts_with(kBearerPrefix) ? std::string(value.substr(std::string_view(kBearerPrefix).size())) : "";
}

}  // namespace

Access::Access(AccessOptions options)
    : options_(std::move(options)),
      jwt_(options_.jwt.IsSet() ? std::make_optional<JwtIdentity>(options_.jwt) : std::nullopt),
      watch_([this](const Caller& caller) { return CheckIsValid(caller); },
             [this] {
               {
                 const std::lock_guard lock(mutex_);
                 ReloadIfChanged();
                 TellIfReadable();
               }
               TellOfThoseLeftOut();
             },
             kWatchInterval) {}

absl::Status Access::Load() {
  const std::lock_guard lock(mutex_);
  struct stat now {};
  const int error = stat(options_.token_file.c_str(), &now) == 0 ? 0 : errno;
  if (error == ENOENT && options_.needs_tokens) {
    return absl::FailedPreconditionError(
        fmt::format("the token file {} does not exist: name another one with --tokens, or make it with "
                    "`regroup-coordinator init` or `regroup-coordinator token add`",
                    options_.token_file.string()));
  }
  if (error == 0) {
    REGROUP_RETURN_IF_ERROR(Read());
    seen_ = FileVersion(now);
  } else if (error != ENOENT) {
    return ErrnoStatus(error, "read", options_.token_file);
  }
  if (jwt_) REGROUP_RETURN_IF_ERROR(jwt_->Load());
  options_.on_readable(true);
  return absl::OkStatus();
}

/// Tells of files that cannot be read any more, or again, while the lock is held.
void Access::TellIfReadable() {
  const bool is_readable = closed_.ok() && (!jwt_ || jwt_->Reload().ok());
  if (is_readable != was_readable_) options_.on_readable(is_readable);
  was_readable_ = is_readable;
}

/// Reads the file while the lock is held.
absl::Status Access::Read() {
  REGROUP_ASSIGN_OR_RETURN(const std::vector<TokenEntry> tokens, ReadTokens(options_.token_file));
  // Whoever cut the file short at the end of a line removed tokens that nobody meant to remove.
  if (tokens.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("{} holds no token: make one with `regroup-coordinator token add`", options_.token_file.string()));
  }
  callers_.clear();
  for (const TokenEntry& token : tokens) {
    callers_[token.digest] = {token.name, token.role, BoundWorker(token), "", token.digest};
  }
  is_open_ = false;
  closed_ = absl::OkStatus();
  return absl::OkStatus();
}

bool Access::IsOpen() const {
  const std::lock_guard lock(mutex_);
  return is_open_ && !jwt_;
}

void Access::ReloadIfChanged() {
  struct stat now {};
  if (stat(options_.token_file.c_str(), &now) != 0) {
    const int error = errno;
    seen_ = {};
    // Without a file there never were tokens: see AccessOptions.
    if (!is_open_ || error != ENOENT) Close(ErrnoStatus(error, "read", options_.token_file));
    return;
  }
  if (FileVersion(now) == seen_) return;
  seen_ = FileVersion(now);
  if (const absl::Status status = Read(); !status.ok()) return Close(status);
  TellIfReadable();
  LogInfo("tokens reloaded", {{"file", options_.token_file.string()}, {"tokens", callers_.size()}});
}

/// Rejects every token until the file can be read again.
void Access::Close(const absl::Status& why) {
  callers_.clear();
  is_open_ = false;
  if (why == closed_) return;
  closed_ = why;
  TellIfReadable();
  LogError("the token file cannot be read; every token of it is rejected until it is repaired",
           {{"file", options_.token_file.string()}, {"reason", std::string(why.message())}});
}

absl::Status Access::CheckIsValid(const Caller& caller) {
  if (caller.jwt != nullptr) return jwt_->CheckIsValid(caller, options_.now());
  const std::lock_guard lock(mutex_);
  if (is_open_) return absl::OkStatus();
  if (!closed_.ok()) return Closed();
  const auto found = callers_.find(caller.token_digest);
  if (found == callers_.end()) return Unauthenticated("the token was removed");
  const Caller& now = found->second;
  if (now.role == caller.role && now.name == caller.name && now.worker == caller.worker) return absl::OkStatus();
  return Unauthenticated("the token was given another name, role or worker");
}

absl::StatusOr<Caller> Access::Identify(const grpc::ServerContextBase& context) {
  const std::string token = TokenOf(context);
  {
    const std::lock_guard lock(mutex_);
    ReloadIfChanged();
    if (is_open_ && !jwt_) return Caller();
    if (token.empty()) return Unauthenticated("the call carries no token; give one with --token-file");
    if (!jwt_ || !HasFormOfJsonWebToken(token)) return FindInTokenFile(token);
  }
  // Without the lock: to verify a signature takes longer than all the rest.
  return jwt_->Identify(token, options_.now());
}

absl::StatusOr<Caller> Access::FindInTokenFile(const std::string& token) const {
  if (!closed_.ok()) return Closed();
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
  NoteRefused(caller.ok() ? *caller : Caller{.peer = context.peer()}, method, "", std::string(refusal.message()));
  return refusal;
}

RefusalBudget& Access::BudgetOf(const std::string& caller) {
  const std::lock_guard lock(mutex_);
  return refusals_[refusals_.size() < kMostBudgets || refusals_.contains(caller) ? caller : ""];
}

void Access::NoteRefused(const Caller& caller, std::string_view method, const std::string& resource,
                         std::string_view why) {
  const std::optional<int64_t> left_out = BudgetOf(caller.name).Take();
  if (!left_out) return;
  LogWarning("call rejected", {{"method", method}, {"peer", caller.peer}, {"caller", caller.name}, {"reason", why}});
  // A coordinator that does not lead writes nothing.
  if (is_ready_().ok()) options_.on_refused({caller, std::string(method), resource, std::string(why), *left_out});
}

void Access::TellOfThoseLeftOut() {
  if (!is_ready_().ok()) return;
  std::vector<std::string> callers;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [caller, budget] : refusals_) callers.push_back(caller);
  }
  for (const std::string& caller : callers) {
    const std::optional<int64_t> left_out = BudgetOf(caller).TakeLeftOut();
    if (!left_out) continue;
    LogWarning("calls rejected", {{"caller", caller}, {"calls", *left_out}});
    options_.on_refused({{.name = caller}, "", "", "refused calls without entries of their own", *left_out});
  }
}

}  // namespace regroup
