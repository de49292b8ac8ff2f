// Identifies callers by JSON Web Tokens: verifies signature and claims, and looks up role and name in the table of
// rules.
//
// Keys and table are read again when their files change. While one of them cannot be read, no JSON Web Token is
// admitted, because nobody can tell which keys and rules it would have withdrawn. Keys of a URL are downloaded instead
// (WebKeyDownload). Thread-safe. Owned by Access.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"
#include "coordinator/access/claim_checks.h"
#include "coordinator/access/claim_rules.h"
#include "coordinator/access/reloaded_file.h"
#include "coordinator/access/web_key_download.h"
#include "coordinator/access/web_key_set.h"

namespace regroup {

/// Settings for callers with JSON Web Tokens. Without keys there are none.
struct JwtOptions {
  /// File or URL with the issuer's keys (JSON Web Key Set).
  std::string keys;
  /// Time between two downloads of the keys.
  std::chrono::seconds refresh{300};
  /// File with the table of claim_rules.h.
  std::filesystem::path roles;
  ClaimRequirements claims;

  bool IsSet() const { return !keys.empty(); }
};

/// A token that was admitted: what later checks need of it.
struct VerifiedToken {
  nlohmann::json claims;
  /// PublicKey::digest of the key that signed it.
  std::string key_digest;
};

class JwtIdentity {
 public:
  using Time = std::chrono::system_clock::time_point;

  explicit JwtIdentity(const JwtOptions& options);

  /// Starts the downloads of keys from a URL, and reads the files. INVALID_ARGUMENT for a URL that is not allowed;
  /// errors of files that cannot be read. OK if keys of a URL are still missing: the issuer may be down for a while.
  absl::Status Load();

  /// Reads changed files, and logs the change. Returns OK if there are keys and rules.
  absl::Status Reload();

  /// Returns the token's holder. UNAUTHENTICATED (CREDENTIALS_REQUIRED) if the token is not valid, PERMISSION_DENIED
  /// (NOT_ALLOWED) if no rule gives its holder a role, UNAVAILABLE (TOKENS_UNREADABLE) while a file cannot be read.
  absl::StatusOr<Caller> Identify(std::string_view token, Time now);

  /// Returns OK while the caller's token is valid, its key is in the set, and the rules give it the same role, name and
  /// worker. UNAVAILABLE once it has expired: the caller may try again with a new one.
  absl::Status CheckIsValid(const Caller& caller, Time now);

 private:
  /// The keys and rules that one call is checked with.
  struct State {
    std::shared_ptr<const WebKeySet> keys;
    std::shared_ptr<const ClaimRules> rules;
  };

  /// Call both with the lock.
  absl::Status ReloadFiles();
  ReloadedFile<WebKeySet>::Result Keys() const { return download_ ? download_->keys() : keys_.value(); }

  absl::StatusOr<State> Current();
  absl::StatusOr<VerifiedToken> Verify(const WebKeySet& keys, std::string_view token, Time now) const;

  const JwtOptions options_;
  const ClaimRequirements& required_ = options_.claims;
  std::mutex mutex_;
  /// None if the keys are those of a file.
  std::unique_ptr<WebKeyDownload> download_;
  ReloadedFile<WebKeySet> keys_;
  ReloadedFile<ClaimRules> rules_;
};

}  // namespace regroup
