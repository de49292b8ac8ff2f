#include "coordinator/access/web_key_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "coordinator/access/json_web_token.h"
#include "services/common/base/bounded_json.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kMostKeys = 100;
constexpr std::array kPrivateMembers = {"d", "p", "q", "dp", "dq", "qi", "oth"};

/// Returns the member if it is text.
std::optional<std::string> TextIn(const nlohmann::json& key, const char* member) {
  const auto value = key.find(member);
  if (value == key.end() || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

/// Returns the bytes of a member in base64url; empty if it is missing or malformed.
std::string BytesIn(const nlohmann::json& key, const char* member) {
  return DecodeBase64Url(TextIn(key, member).value_or("")).value_or("");
}

/// Returns true for a member that is missing or has this value.
bool IsUnlessOther(const nlohmann::json& key, const char* member, std::string_view value) {
  return !key.contains(member) || TextIn(key, member) == value;
}

bool VerifiesSignatures(const nlohmann::json& key) {
  if (!IsUnlessOther(key, "use", "sig")) return false;
  const auto operations = key.find("key_ops");
  return operations == key.end() || std::find(operations->begin(), operations->end(), "verify") != operations->end();
}

bool IsForRs256(const nlohmann::json& key) {
  return TextIn(key, "kty") == "RSA" && IsUnlessOther(key, "alg", "RS256") && VerifiesSignatures(key);
}

bool IsForEs256(const nlohmann::json& key) {
  return TextIn(key, "kty") == "EC" && TextIn(key, "crv") == "P-256" && IsUnlessOther(key, "alg", "ES256") &&
         VerifiesSignatures(key);
}

absl::Status CheckIsPublic(const nlohmann::json& key) {
  for (const char* member : kPrivateMembers) {
    if (key.contains(member)) return absl::InvalidArgumentError("is private; publish only its public part");
  }
  return absl::OkStatus();
}

absl::StatusOr<PublicKey> ReadKey(const nlohmann::json& key) {
  REGROUP_RETURN_IF_ERROR(CheckIsPublic(key));
  if (IsForRs256(key)) return PublicKey::FromRsa(BytesIn(key, "n"), BytesIn(key, "e"));
  return PublicKey::FromP256(BytesIn(key, "x"), BytesIn(key, "y"));
}

absl::Status AtKey(size_t index, const absl::Status& status) {
  return absl::InvalidArgumentError(fmt::format("key {} {}", index + 1, std::string(status.message())));
}

}  // namespace

absl::StatusOr<WebKeySet> WebKeySet::Parse(std::string_view text) {
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json set, ParseJsonObject(text));
  const auto keys = set.find("keys");
  if (keys == set.end() || !keys->is_array()) return absl::InvalidArgumentError("has no list \"keys\"");
  if (keys->size() > kMostKeys) return absl::InvalidArgumentError(fmt::format("has more than {} keys", kMostKeys));
  WebKeySet parsed;
  for (size_t i = 0; i < keys->size(); ++i) {
    const nlohmann::json& member = (*keys)[i];
    if (!member.is_object()) return AtKey(i, absl::InvalidArgumentError("is not an object"));
    if (!IsForRs256(member) && !IsForEs256(member)) continue;
    absl::StatusOr<PublicKey> key = ReadKey(member);
    if (!key.ok()) return AtKey(i, key.status());
    if (const absl::Status status = parsed.Add(TextIn(member, "kid"), *std::move(key)); !status.ok()) {
      return AtKey(i, status);
    }
  }
  if (parsed.keys_.empty()) return absl::InvalidArgumentError("holds no public key for RS256 or ES256");
  return parsed;
}

absl::Status WebKeySet::Add(std::optional<std::string> id, PublicKey key) {
  if (id && Find(id) != nullptr) {
    return absl::InvalidArgumentError(fmt::format("has the kid \"{}\" of another key", PrintableText(*id)));
  }
  keys_.push_back({std::move(id), std::move(key)});
  return absl::OkStatus();
}

const PublicKey* WebKeySet::Find(const std::optional<std::string>& id) const {
  if (!id) return keys_.size() == 1 ? &keys_.front().key : nullptr;
  const auto found = std::find_if(keys_.begin(), keys_.end(), [&id](const NamedKey& named) { return named.id == id; });
  return found == keys_.end() ? nullptr : &found->key;
}

bool WebKeySet::IsSameAs(const WebKeySet& other) const {
  return std::equal(keys_.begin(), keys_.end(), other.keys_.begin(), other.keys_.end(),
                    [](const NamedKey& one, const NamedKey& another) {
                      return one.id == another.id && one.key.digest() == another.key.digest();
                    });
}

bool WebKeySet::Has(std::string_view digest) const {
  return std::any_of(keys_.begin(), keys_.end(),
                     [digest](const NamedKey& named) { return named.key.digest() == digest; });
}

}  // namespace regroup
