#include "services/common/remote/remote_settings.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr uint64_t kMaxCredentialBytes = 64 << 10;

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string Stripped(std::string text) {
  absl::StripAsciiWhitespace(&text);
  return text;
}

/// Reads the file that a variable names. It is the operator's, so that its lack is not an error of the job's data.
absl::StatusOr<std::string> ReadSecret(const char* variable, const std::string& file) {
  const absl::StatusOr<std::string> text = ReadFile(file, kMaxCredentialBytes);
  if (text.ok()) return Stripped(*text);
  return absl::FailedPreconditionError(fmt::format("{}: {}", variable, std::string(text.status().message())));
}

/// Reads a section of a file in the format of ~/.aws/credentials.
std::map<std::string, std::string> SectionOf(const std::string& text, std::string_view section) {
  std::map<std::string, std::string> values;
  bool is_inside = false;
  for (const std::string& raw : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    const std::string line = Stripped(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      is_inside = line == fmt::format("[{}]", section);
      continue;
    }
    const size_t equals = line.find('=');
    if (!is_inside || equals == std::string::npos) continue;
    values[Stripped(line.substr(0, equals))] = Stripped(line.substr(equals + 1));
  }
  return values;
}

absl::StatusOr<std::optional<AwsCredentials>> ReadAwsCredentials() {
  AwsCredentials credentials{Variable("AWS_ACCESS_KEY_ID"), Variable("AWS_SECRET_ACCESS_KEY"),
                             Variable("AWS_SESSION_TOKEN")};
  if (credentials.key_id.empty() != credentials.secret.empty()) {
    return absl::InvalidArgumentError("set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither");
  }
  if (!credentials.key_id.empty()) return credentials;
  const std::string file = Variable("AWS_SHARED_CREDENTIALS_FILE");
  if (file.empty()) return std::nullopt;
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadSecret("AWS_SHARED_CREDENTIALS_FILE", file));
  const std::string named = Variable("AWS_PROFILE");
  const std::string profile = named.empty() ? "default" : named;
  std::map<std::string, std::string> values = SectionOf(text, profile);
  credentials = {values["aws_access_key_id"], values["aws_secret_access_key"], values["aws_session_token"]};
  if (!credentials.key_id.empty() && !credentials.secret.empty()) return credentials;
  return absl::InvalidArgumentError(
      fmt::format("{} has no aws_access_key_id and aws_secret_access_key in its section [{}]", file, profile));
}

absl::StatusOr<std::string> ReadHubToken() {
  if (std::string token = Variable("HF_TOKEN"); !token.empty()) return token;
  const std::string file = Variable("HF_TOKEN_PATH");
  return file.empty() ? "" : ReadSecret("HF_TOKEN_PATH", file);
}

absl::StatusOr<std::string> ReadEndpoint(const char* variable, std::string otherwise) {
  std::string endpoint = Variable(variable);
  if (endpoint.empty()) return otherwise;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const size_t scheme = endpoint.starts_with("https://") ? 8 : endpoint.starts_with("http://") ? 7 : 0;
  if (scheme > 0 && !HostOf(endpoint).empty() && endpoint.find_first_of("/?#@", scheme) == std::string::npos) {
    return endpoint;
  }
  return absl::InvalidArgumentError(fmt::format("{} is not the URL of a host, without a path", variable));
}

absl::StatusOr<RemoteRules> ReadRemoteRules() {
  RemoteRules rules;
  const std::string text = Variable(kRemoteRulesVariable);
  if (text.empty()) return rules;
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text));
  json.at("allowed").get_to(rules.allowed);
  json.at("private_addresses").get_to(rules.allows_private_addresses);
  json.at("cache_bytes").get_to(rules.cache_bytes);
  return rules;
}

}  // namespace

std::string FormatRemoteRules(const RemoteRules& rules) {
  return nlohmann::json{{"allowed", rules.allowed},
                        {"private_addresses", rules.allows_private_addresses},
                        {"cache_bytes", rules.cache_bytes}}
      .dump();
}

std::vector<std::string> RemoteVariables() {
  return {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
          "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE",
          "AWS_PROFILE",       "AWS_REGION",
          "AWS_ENDPOINT_URL",  "HF_TOKEN",
          "HF_TOKEN_PATH",     "HF_ENDPOINT",
          "SSL_CERT_FILE",     "https_proxy",
          "HTTPS_PROXY",       "no_proxy",
          "NO_PROXY"};
}

HttpRules RemoteSettings::HttpRulesOf(AddressKind kind) const {
  HttpRules http{.allows_private_addresses = rules.allows_private_addresses};
  const RemoteSettings standard;
  if (kind == AddressKind::kHub && hub_endpoint != standard.hub_endpoint) {
    http.trusted_origins.push_back(OriginOf(hub_endpoint));
  }
  if (kind == AddressKind::kBucket && !s3_endpoint.empty()) http.trusted_origins.push_back(OriginOf(s3_endpoint));
  return http;
}

absl::StatusOr<RemoteSettings> ReadRemoteSettings() {
  RemoteSettings settings;
  REGROUP_ASSIGN_OR_RETURN(settings.rules, ReadRemoteRules());
  REGROUP_ASSIGN_OR_RETURN(settings.hub_endpoint, ReadEndpoint("HF_ENDPOINT", settings.hub_endpoint));
  REGROUP_ASSIGN_OR_RETURN(settings.hub_token, ReadHubToken());
  REGROUP_ASSIGN_OR_RETURN(settings.s3_endpoint, ReadEndpoint("AWS_ENDPOINT_URL", ""));
  for (const char* variable : {"AWS_DEFAULT_REGION", "AWS_REGION"}) {
    if (const std::string region = Variable(variable); !region.empty()) settings.s3_region = region;
  }
  REGROUP_ASSIGN_OR_RETURN(settings.aws, ReadAwsCredentials());
  return settings;
}

}  // namespace regroup
