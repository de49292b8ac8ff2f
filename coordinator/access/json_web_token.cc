#include "coordinator/access/json_web_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/bearer_token.h"

namespace regroup {
namespace {

/// Header parameters that change how a token must be read, or that bring or name a key from outside.
constexpr std::array kRefusedParameters = {"crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5c", "x5u"};

absl::Status Malformed(const std::string& reason) { return absl::InvalidArgumentError(reason); }

/// Parses an object in which no name occurs twice at any level: parsers differ on which of two values counts.
absl::StatusOr<nlohmann::json> ParseObjectOfUniqueNames(std::string_view text) {
  if (JsonDepth(text) > kMaxJsonDepth) return Malformed("is nested too deeply");
  std::vector<std::set<std::string>> names;
  bool is_unique = true;
  const auto note = [&](int, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start) names.emplace_back();
    if (event == Event::object_end) names.pop_back();
    if (event == Event::key) is_unique = names.back().insert(value.get<std::string>()).second && is_unique;
    return true;
  };
  const nlohmann::json object = nlohmann::json::parse(text, note, /*allow_exceptions=*/false);
  if (!object.is_object()) return Malformed("does not hold JSON objects");
  if (!is_unique) return Malformed("has a name twice");
  return object;
}

absl::StatusOr<nlohmann::json> DecodeObject(std::string_view part) {
  const std::optional<std::string> text = DecodeBase64Url(part);
  if (!text) return Malformed("is not base64url");
  return ParseObjectOfUniqueNames(*text);
}

absl::StatusOr<SignatureAlgorithm> AlgorithmOf(const nlohmann::json& header) {
  const auto algorithm = header.find("alg");
  if (algorithm != header.end() && algorithm->is_string()) {
    if (*algorithm == "RS256") return SignatureAlgorithm::kRs256;
    if (*algorithm == "ES256") return SignatureAlgorithm::kEs256;
  }
  return Malformed("is not signed with RS256 or ES256");
}

/// Other types, such as a logout token, are signed by the same issuer and identify nobody to this service.
absl::Status CheckType(const nlohmann::json& header) {
  const auto type = header.find("typ");
  if (type == header.end()) return absl::OkStatus();
  const std::string name = type->is_string() ? absl::AsciiStrToLower(type->get<std::string>()) : "";
  if (name == "jwt" || name == "at+jwt" || name == "application/at+jwt") return absl::OkStatus();
  return Malformed("has a type other than JWT and at+jwt");
}

absl::StatusOr<std::optional<std::string>> KeyIdOf(const nlohmann::json& header) {
  const auto id = header.find("kid");
  if (id == header.end()) return std::nullopt;
  if (!id->is_string()) return Malformed("has a kid that is not text");
  return id->get<std::string>();
}

}  // namespace

std::optional<std::string> DecodeBase64Url(std::string_view text) {
  const bool has_alphabet = std::all_of(text.begin(), text.end(),
                                        [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; });
  std::string bytes;
  if (!has_alphabet || !absl::WebSafeBase64Unescape(absl::string_view(text.data(), text.size()), &bytes))
    return std::nullopt;
  // Unused bits at the end must be 0.
  if (absl::WebSafeBase64Escape(bytes) != text) return std::nullopt;
  return bytes;
}

bool HasFormOfJsonWebToken(std::string_view token) { return std::count(token.begin(), token.end(), '.') == 2; }

absl::StatusOr<JsonWebToken> ParseJsonWebToken(std::string_view token) {
  if (token.size() > kLongestToken) return Malformed(fmt::format("has more than {} bytes", kLongestToken));
  if (!HasFormOfJsonWebToken(token)) return Malformed("does not have three parts");
  const size_t first = token.find('.');
  const size_t second = token.rfind('.');

  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json header, DecodeObject(token.substr(0, first)));
  for (const char* name : kRefusedParameters) {
    if (header.contains(name)) return Malformed(fmt::format("has the header parameter {}, which is not allowed", name));
  }
  REGROUP_RETURN_IF_ERROR(CheckType(header));
  JsonWebToken parsed;
  REGROUP_ASSIGN_OR_RETURN(parsed.algorithm, AlgorithmOf(header));
  REGROUP_ASSIGN_OR_RETURN(parsed.key_id, KeyIdOf(header));
  REGROUP_ASSIGN_OR_RETURN(parsed.claims, DecodeObject(token.substr(first + 1, second - first - 1)));
  std::optional<std::string> signature = DecodeBase64Url(token.substr(second + 1));
  if (!signature || signature->empty()) return Malformed("has no signature");
  parsed.signature = *std::move(signature);
  parsed.signed_text = token.substr(0, second);
  return parsed;
}

}  // namespace regroup
