#include "coordinator/access/jwt_identity.h"

#include <fmt/format.h>

#include <utility>

#include "coordinator/access/json_web_token.h"
#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/yaml_tree.h"

namespace regroup {
namespace {

constexpr size_t kLongestShownKeyId = 64;

absl::Status Invalid(const absl::Status& why) {
  return MakeError(absl::StatusCode::kUnauthenticated, v1::CREDENTIALS_REQUIRED,
                   fmt::format("the JWT {}", std::string(why.message())));
}

absl::Status Unreadable() {
  return MakeError(absl::StatusCode::kUnavailable, v1::TOKENS_UNREADABLE,
                   "the coordinator rejects every JWT because it cannot read what --jwt-keys or --jwt-roles names; its "
                   "log says why");
}

/// Adds the file's name to a parser's message.
template <typename Value>
absl::StatusOr<Value> InFile(const std::filesystem::path& file, absl::StatusOr<Value> parsed) {
  if (parsed.ok()) return parsed;
  return absl::InvalidArgumentError(fmt::format("{} {}", file.string(), std::string(parsed.status().message())));
}

template <typename Value>
void ReloadAndLog(const char* what, ReloadedFile<Value>* file) {
  const bool was_readable = file->value().ok();
  if (!file->Reload()) return;
  if (file->value().ok()) {
    LogInfo("JWT settings read",
            {{"what", what}, {"file", file->path().string()}, {"entries", (*file->value())->size()}});
  } else if (was_readable) {
    LogError(
        "JWT settings cannot be read; every JWT is rejected until they are repaired",
        {{"what", what}, {"file", file->path().string()}, {"reason", std::string(file->value().status().message())}});
  }
}

std::string ShownKeyId(const std::optional<std::string>& id) {
  return id ? fmt::format("the kid \"{}\"", PrintableText(id->substr(0, kLongestShownKeyId))) : "no kid";
}

}  // namespace

JwtIdentity::JwtIdentity(const JwtOptions& options)
    : options_(options),
      keys_(options.keys, kMostWebKeySetBytes,
            [file = options.keys](const std::string& text) { return InFile(file, WebKeySet::Parse(text)); }),
      rules_(options.roles, kMaximumBytes,
             [file = options.roles](const std::string& text) { return ClaimRules::Parse(text, file.string()); }) {}

absl::Status JwtIdentity::Load() {
  const std::lock_guard lock(mutex_);
  if (IsUrl(options_.keys)) {
    REGROUP_RETURN_IF_ERROR(WebKeyDownload::CheckUrl(options_.keys));
    download_ = std::make_unique<WebKeyDownload>(options_.keys, options_.refresh);
  }
  return ReloadFiles();
}

absl::Status JwtIdentity::ReloadFiles() {
  if (download_ == nullptr) {
    ReloadAndLog("keys", &keys_);
    REGROUP_RETURN_IF_ERROR(keys_.value().status());
  }
  ReloadAndLog("roles", &rules_);
  return rules_.value().status();
}

absl::Status JwtIdentity::Reload() { return Current().status(); }

absl::StatusOr<JwtIdentity::State> JwtIdentity::Current() {
  const std::lock_guard lock(mutex_);
  const absl::Status read = ReloadFiles();
  const ReloadedFile<WebKeySet>::Result keys = Keys();
  if (!read.ok() || !keys.ok()) return Unreadable();
  return State{*keys, *rules_.value()};
}

absl::StatusOr<VerifiedToken> JwtIdentity::Verify(const WebKeySet& keys, std::string_view token, Time now) const {
  absl::StatusOr<JsonWebToken> parsed = ParseJsonWebToken(token);
  if (!parsed.ok()) return Invalid(parsed.status());
  const PublicKey* const key = keys.Find(parsed->key_id);
  if (key == nullptr) {
    if (download_) download_->NoteUnknownKey();
    return Invalid(absl::UnauthenticatedError(
        fmt::format("has {}, which names none of the issuer's {} keys", ShownKeyId(parsed->key_id), keys.size())));
  }
  // The key decides how it is used, never the token.
  if (key->algorithm() != parsed->algorithm || !key->Verifies(parsed->signed_text, parsed->signature)) {
    return Invalid(absl::UnauthenticatedError("has a signature that its key did not make"));
  }
  if (const absl::Status status = CheckClaims(parsed->claims, required_, now); !status.ok()) return Invalid(status);
  return VerifiedToken{std::move(parsed->claims), key->digest()};
}

absl::StatusOr<Caller> JwtIdentity::Identify(std::string_view token, Time now) {
  REGROUP_ASSIGN_OR_RETURN(const State state, Current());
  REGROUP_ASSIGN_OR_RETURN(VerifiedToken verified, Verify(*state.keys, token, now));
  REGROUP_ASSIGN_OR_RETURN(Caller caller, state.rules->Identify(verified.claims));
  caller.token_digest = Sha256Of(token);
  caller.jwt = std::make_shared<const VerifiedToken>(std::move(verified));
  return caller;
}

absl::Status JwtIdentity::CheckIsValid(const Caller& caller, Time now) {
  REGROUP_ASSIGN_OR_RETURN(const State state, Current());
  if (HasExpired(caller.jwt->claims, required_, now)) {
    return MakeError(absl::StatusCode::kUnavailable, v1::CREDENTIALS_REQUIRED,
                     "the JWT has expired; call again with a new one");
  }
  if (!state.keys->Has(caller.jwt->key_digest)) {
    return Invalid(absl::UnauthenticatedError("was signed with a key that was withdrawn"));
  }
  REGROUP_ASSIGN_OR_RETURN(const Caller now_caller, state.rules->Identify(caller.jwt->claims));
  const bool is_same =
      now_caller.role == caller.role && now_caller.name == caller.name && now_caller.worker == caller.worker;
  return is_same ? absl::OkStatus()
                 : Invalid(absl::UnauthenticatedError("has another role, name or worker by new rules"));
}

}  // namespace regroup
