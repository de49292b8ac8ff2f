#include "services/common/remote/remote_settings.h"

#include <fmt/format.h>

#include <cstdlib>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
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
          "HTTPS_PROXY",       "AWS_DEFAULT_REGION",
          "no_proxy",          "NO_PROXY"};
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
  REGROUP_ASSIGN_OR_RETURN(settings.s3_endpoint, ReadEndpoint("AWS_ENDPOINT_URL", ""));
  for (const char* variable : {"AWS_DEFAULT_REGION", "AWS_REGION"}) {
    if (const std::string region = Variable(variable); !region.empty()) settings.s3_region = region;
  }
  REGROUP_ASSIGN_OR_RETURN(Credentials credentials, ReadCredentials());
  settings.credentials = std::make_shared<RemoteCredentials>(std::move(credentials));
  return settings;
}

}  // namespace regroup
