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

absl::StatusOr<std::string> ReadSecret(const std::string& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxCredentialBytes));
  return Stripped(text);
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
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxCredentialBytes));
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
  return file.empty() ? "" : ReadSecret(file);
}

absl::StatusOr<std::string> ReadEndpoint(const char* variable, std::string otherwise) {
  std::string endpoint = Variable(variable);
  if (endpoint.empty()) return otherwise;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const bool has_scheme = endpoint.starts_with("https://") || endpoint.starts_with("http://");
  if (has_scheme && !HostOf(endpoint).empty() && endpoint.find_first_of("?#@") == std::string::npos) return endpoint;
  return absl::InvalidArgumentError(fmt::format("{} is not the URL of an endpoint", variable));
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

HttpRules RemoteSettings::HttpRulesOf() const {
  HttpRules rules{.allows_private_addresses = this->rules.allows_private_addresses};
  const RemoteSettings standard;
  if (hub_endpoint != standard.hub_endpoint) rules.trusted_hosts.push_back(HostOf(hub_endpoint));
  if (!s3_endpoint.empty()) rules.trusted_hosts.push_back(HostOf(s3_endpoint));
  return rules;
}

absl::StatusOr<RemoteSettings> ReadRemoteSettings() {
  RemoteSettings settings;
  REGROUP_ASSIGN_OR_RETURN(settings.rules, ReadRemoteRules());
  REGROUP_ASSIGN_OR_RETURN(settings.hub_endpoint, ReadEndpoint("HF_ENDPOINT", settings.hub_endpoint));
  REGROUP_ASSIGN_OR_RETURN(settings.hub_token, ReadHubToken());
  REGROUP_ASSIGN_OR_RETURN(settings.s3_endpoint, ReadEndpoint("AWS_ENDPOINT_URL", ""));
  if (const std::string region = Variable("AWS_REGION"); !region.empty()) settings.s3_region = region;
  REGROUP_ASSIGN_OR_RETURN(settings.aws, ReadAwsCredentials());
  return settings;
}

}  // namespace regroup
