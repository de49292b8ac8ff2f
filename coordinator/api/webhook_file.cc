#include "coordinator/api/webhook_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "coordinator/api/requests.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/yaml_tree.h"
#include "services/common/remote/http_client.h"

namespace regroup {
namespace {

constexpr std::array kFinalStates = {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED};
constexpr std::string_view kEncodedSecret = "whsec_";
constexpr size_t kShortestSecret = 24;
constexpr uint64_t kMaxSecretBytes = 4096;

class WebhookReader {
 public:
  explicit WebhookReader(std::string_view file_name) : file_name_(file_name) {}

  absl::StatusOr<std::vector<Webhook>> Read(const YamlNode& root) const {
    const auto list = std::find_if(root.entries.begin(), root.entries.end(),
                                   [](const YamlNode::Entry& entry) { return entry.key == "webhooks"; });
    if (root.entries.size() != 1 || list == root.entries.end() || list->value.kind != YamlNode::Kind::kSequence) {
      return Invalid(root.position, "write `webhooks:` with a list, and nothing else");
    }
    if (list->value.items.size() > kMostWebhooks) {
      return Invalid(list->position, fmt::format("has more than {} webhooks", kMostWebhooks));
    }
    std::vector<Webhook> hooks;
    for (const YamlNode& item : list->value.items) {
      REGROUP_ASSIGN_OR_RETURN(Webhook hook, ReadHook(item));
      for (const Webhook& other : hooks) {
        if (other.name == hook.name) return Invalid(item.position, fmt::format("'{}' is named twice", hook.name));
      }
      hooks.push_back(std::move(hook));
    }
    return hooks;
  }

 private:
  absl::Status Invalid(Position position, const std::string& message) const {
    return absl::InvalidArgumentError(AtPosition(file_name_, position, message));
  }

  absl::StatusOr<Webhook> ReadHook(const YamlNode& item) const {
    if (item.kind != YamlNode::Kind::kMapping) return Invalid(item.position, "write name, url and secret_file");
    Webhook hook{.states = {kFinalStates.begin(), kFinalStates.end()}};
    for (const YamlNode::Entry& entry : item.entries) {
      if (entry.key == "states") {
        REGROUP_ASSIGN_OR_RETURN(hook.states, ReadStates(entry));
      } else if (entry.value.kind != YamlNode::Kind::kScalar || entry.value.text.empty()) {
        return Invalid(entry.position, fmt::format("{} is a text", entry.key));
      } else if (entry.key == "name") {
        hook.name = entry.value.text;
      } else if (entry.key == "url") {
        hook.url = entry.value.text;
      } else if (entry.key == "secret_file") {
        hook.secret_file = entry.value.text;
      } else {
        return Invalid(entry.position, fmt::format("{} is unknown; write name, url, secret_file or states", entry.key));
      }
    }
    if (!IsResourceId(hook.name)) {
      return Invalid(item.position, "name: write lower-case letters, digits and hyphens, at most 63");
    }
    const bool is_web = hook.url.starts_with("https://") || hook.url.starts_with("http://");
    if (!is_web || HostOf(hook.url).empty() || hook.url.find('@') != std::string::npos) {
      return Invalid(item.position, fmt::format("{}: url: write https://host/path, without credentials", hook.name));
    }
    if (!hook.secret_file.is_absolute()) {
      return Invalid(item.position, fmt::format("{}: secret_file: write an absolute path", hook.name));
    }
    return hook;
  }

  absl::StatusOr<std::set<v1::JobState>> ReadStates(const YamlNode::Entry& entry) const {
    std::set<v1::JobState> states;
    for (const YamlNode& item : entry.value.items) {
      const auto state = std::find_if(kFinalStates.begin(), kFinalStates.end(),
                                      [&](v1::JobState one) { return EnumWord(one) == item.text; });
      if (state == kFinalStates.end()) {
        return Invalid(item.position, "states: write succeeded, failed or cancelled");
      }
      states.insert(*state);
    }
    if (states.empty()) return Invalid(entry.position, "states: write a list of succeeded, failed or cancelled");
    return states;
  }

  const std::string_view file_name_;
};

}  // namespace

absl::StatusOr<std::vector<Webhook>> ParseWebhooks(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(text, file_name));
  return WebhookReader(file_name).Read(root);
}

absl::StatusOr<std::vector<Webhook>> ReadWebhooks(const std::filesystem::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaximumBytes));
  REGROUP_ASSIGN_OR_RETURN(std::vector<Webhook> hooks, ParseWebhooks(text, file.string()));
  for (const Webhook& hook : hooks) REGROUP_RETURN_IF_ERROR(ReadWebhookSecret(hook.secret_file).status());
  return hooks;
}

absl::StatusOr<std::string> ReadWebhookSecret(const std::filesystem::path& file) {
  REGROUP_ASSIGN_OR_RETURN(std::string secret, ReadFile(file, kMaxSecretBytes));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.starts_with(kEncodedSecret)) {
    std::string bytes;
    if (!absl::Base64Unescape(secret.substr(kEncodedSecret.size()), &bytes)) {
      return absl::InvalidArgumentError(fmt::format("{}: what follows whsec_ is not base64", file.string()));
    }
    secret = std::move(bytes);
  }
  if (secret.size() >= kShortestSecret) return secret;
  return absl::InvalidArgumentError(fmt::format("{}: a secret has at least {} bytes", file.string(), kShortestSecret));
}

}  // namespace regroup
