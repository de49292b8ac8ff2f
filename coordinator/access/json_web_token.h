// Splits a JSON Web Token (RFC 7519, in the compact form of RFC 7515) into its parts, before anything is verified.
//
// Only what this service can check is accepted: RS256 and ES256, without critical extensions, unencoded payloads,
// compression, nesting, and keys that the token itself brings or points to. Pure functions, for any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "coordinator/access/public_key.h"

namespace regroup {

struct JsonWebToken {
  SignatureAlgorithm algorithm = SignatureAlgorithm::kRs256;
  /// The header's `kid`.
  std::optional<std::string> key_id;
  nlohmann::json claims;
  /// The bytes that were signed: header and claims, encoded.
  std::string signed_text;
  std::string signature;
};

/// Returns true for a text of three parts that are separated by dots; tokens of the token file hold no dot.
bool HasFormOfJsonWebToken(std::string_view token);

/// Returns the parts, none of which is verified. INVALID_ARGUMENT states the error as the end of a sentence that begins
/// with "the JWT", and never quotes the token.
absl::StatusOr<JsonWebToken> ParseJsonWebToken(std::string_view token);

/// Decodes base64url without padding (RFC 7515, appendix C); nothing for any other text, including one that another
/// text stands for too.
std::optional<std::string> DecodeBase64Url(std::string_view text);

}  // namespace regroup
