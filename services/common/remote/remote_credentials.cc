#include "services/common/remote/remote_credentials.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
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

/// Returns true for an answer that refuses the credentials. The answer to HEAD has no body, so that an expired token
/// there cannot be told from other reasons for the status 400.
bool Refuses(const HttpResponse& response) {
  return absl::IsPermissionDenied(StatusOf(response, "")) || (response.status == 400 && response.body.empty());
}

}  // namespace

absl::StatusOr<Credentials> ReadCredentials() {
  Credentials credentials;
  REGROUP_ASSIGN_OR_RETURN(credentials.hub_token, ReadHubToken());
  REGROUP_ASSIGN_OR_RETURN(credentials.aws, ReadAwsCredentials());
  return credentials;
}

Credentials RemoteCredentials::Get() const {
  const std::lock_guard lock(mutex_);
  return credentials_;
}

uint64_t RemoteCredentials::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

bool RemoteCredentials::RenewAfter(const HttpResponse& response, uint64_t version) {
  if (!Refuses(response)) return false;
  const std::lock_guard lock(mutex_);
  if (version_ != version) return true;
  absl::StatusOr<Credentials> read = ReadCredentials();
  if (!read.ok() || *read == credentials_) return false;
  credentials_ = std::move(*read);
  ++version_;
  LogInfo("the credentials were renewed", {{"host", HostOf(response.url)}});
  return true;
}

}  // namespace regroup
