#include "coordinator/access/claim_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_split.h"
#include "coordinator/access/token_file.h"
#include "coordinator/access/worker_binding.h"
#include "services/common/base/error.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/yaml_tree.h"

namespace regroup {
namespace {

constexpr size_t kMostRules = 1000;
constexpr size_t kLongestShown = 200;

// The file.

/// Returns an error without the file's name, which Parse adds.
absl::Status At(const YamlNode& node, std::string_view message) {
  return absl::InvalidArgumentError(AtPosition("", node.position, message));
}

absl::StatusOr<std::string> ReadText(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar && !node.text.empty()) return node.text;
  return At(node, "write text");
}

absl::StatusOr<ClaimPath> ReadPath(const YamlNode& node) {
  ClaimPath path;
  if (node.kind == YamlNode::Kind::kScalar) {
    path = absl::StrSplit(node.text, '.');
  } else if (node.kind == YamlNode::Kind::kSequence) {
    for (const YamlNode& item : node.items) {
      REGROUP_ASSIGN_OR_RETURN(std::string name, ReadText(item));
      path.push_back(std::move(name));
    }
  }
  if (!path.empty() && std::find(path.begin(), path.end(), "") == path.end()) return path;
  return At(node, "write a claim's name, a path with dots such as realm_access.roles, or a list of names");
}

absl::StatusOr<Role> ReadRole(const YamlNode& node) {
  REGROUP_ASSIGN_OR_RETURN(const std::string name, ReadText(node));
  if (const std::optional<Role> role = RoleFromName(name)) return *role;
  return At(node, fmt::format("\"{}\" is not a role; write viewer, submitter, admin or worker", PrintableText(name)));
}

absl::StatusOr<std::string> ReadBinding(const YamlNode& node) {
  REGROUP_ASSIGN_OR_RETURN(std::string binding, ReadText(node));
  if (IsWorkerBinding(binding)) return binding;
  return At(node, fmt::format("\"{}\" is neither a worker's id nor a prefix with *", PrintableText(binding)));
}

absl::StatusOr<std::string> ReadPrefix(const YamlNode& node) {
  REGROUP_ASSIGN_OR_RETURN(std::string prefix, ReadText(node));
  if (IsCallerName(prefix)) return prefix;
  return At(node, fmt::format("\"{}\" cannot begin an owner; {}", PrintableText(prefix), kFormOfCallerName));
}

template <typename Value>
absl::Status Assign(absl::StatusOr<Value> value, Value* target) {
  if (value.ok()) *target = *std::move(value);
  return value.status();
}

absl::Status ReadKey(const YamlNode::Entry& entry, ClaimRule* rule) {
  const YamlNode& value = entry.value;
  if (entry.key == "claim") return Assign(ReadPath(value), &rule->claim);
  if (entry.key == "value") return Assign(ReadText(value), &rule->value);
  if (entry.key == "role") return Assign(ReadRole(value), &rule->role);
  if (entry.key == "owner_claim") return Assign(ReadPath(value), &rule->owner_claim);
  if (entry.key == "owner_prefix") return Assign(ReadPrefix(value), &rule->owner_prefix);
  if (entry.key == "worker") return Assign(ReadBinding(value), &rule->worker);
  if (entry.key == "worker_claim") return Assign(ReadPath(value), &rule->worker_claim);
  return absl::InvalidArgumentError(AtPosition(
      "", entry.position,
      fmt::format("unknown key '{}'; a rule has claim, value, role, owner_claim, owner_prefix, worker and worker_claim",
                  PrintableText(entry.key))));
}

bool HasKey(const YamlNode& node, std::string_view key) {
  return std::any_of(node.entries.begin(), node.entries.end(),
                     [key](const YamlNode::Entry& entry) { return entry.key == key; });
}

absl::StatusOr<ClaimRule> ReadRule(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kMapping) return At(node, "a rule is a mapping with claim, value and role");
  ClaimRule rule;
  rule.line = node.position.line;
  for (const YamlNode::Entry& entry : node.entries) REGROUP_RETURN_IF_ERROR(ReadKey(entry, &rule));
  for (const char* key : {"claim", "value", "role"}) {
    if (!HasKey(node, key)) return At(node, fmt::format("the rule has no {}", key));
  }
  const int bindings = (rule.worker.empty() ? 0 : 1) + (rule.worker_claim.empty() ? 0 : 1);
  if (rule.role == Role::kWorker && bindings != 1) {
    return At(node, "a rule for the role worker needs either worker or worker_claim");
  }
  if (rule.role != Role::kWorker && bindings != 0) {
    return At(node, "only rules for the role worker have worker or worker_claim");
  }
  return rule;
}

absl::StatusOr<std::vector<ClaimRule>> ReadRules(const YamlNode& root) {
  if (root.entries.size() != 1 || root.entries.front().key != "rules" ||
      root.entries.front().value.kind != YamlNode::Kind::kSequence) {
    return At(root, "write one key, rules, with a list");
  }
  const YamlNode& list = root.entries.front().value;
  // An empty list would reject every holder of a token, which no administrator means.
  if (list.items.empty()) return At(list, "there is no rule");
  if (list.items.size() > kMostRules) return At(list, fmt::format("there are more than {} rules", kMostRules));
  std::vector<ClaimRule> rules;
  for (const YamlNode& item : list.items) {
    REGROUP_ASSIGN_OR_RETURN(ClaimRule rule, ReadRule(item));
    rules.push_back(std::move(rule));
  }
  return rules;
}

// The claims.

const nlohmann::json* ValueAt(const nlohmann::json& claims, const ClaimPath& path) {
  const nlohmann::json* value = &claims;
  for (const std::string& name : path) {
    if (!value->is_object()) return nullptr;
    const auto member = value->find(name);
    if (member == value->end()) return nullptr;
    value = &*member;
  }
  return value;
}

/// Compares text with text, and true, false and integers with their text in JSON.
bool IsValue(const nlohmann::json& value, const std::string& wanted) {
  if (value.is_string()) return value == wanted;
  return (value.is_boolean() || value.is_number_integer()) && value.dump() == wanted;
}

bool Fits(const ClaimRule& rule, const nlohmann::json& claims) {
  const nlohmann::json* value = ValueAt(claims, rule.claim);
  if (value == nullptr) return false;
  if (!value->is_array()) return IsValue(*value, rule.value);
  return std::any_of(value->begin(), value->end(),
                     [&rule](const nlohmann::json& item) { return IsValue(item, rule.value); });
}

std::string TextAt(const nlohmann::json& claims, const ClaimPath& path) {
  const nlohmann::json* value = ValueAt(claims, path);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

std::string Shown(std::string_view text) {
  return PrintableText(text.substr(0, kLongestShown)) + (text.size() > kLongestShown ? "..." : "");
}

absl::Status NotAllowed(std::string_view message) {
  return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED, message);
}

}  // namespace

absl::StatusOr<ClaimRules> ClaimRules::Parse(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(text, file_name));
  absl::StatusOr<std::vector<ClaimRule>> rules = ReadRules(root);
  if (!rules.ok()) {
    return absl::InvalidArgumentError(fmt::format("{}{}", file_name, std::string(rules.status().message())));
  }
  ClaimRules table;
  table.file_name_ = file_name;
  table.rules_ = *std::move(rules);
  return table;
}

absl::StatusOr<Caller> ClaimRules::Identify(const nlohmann::json& claims) const {
  const auto rule =
      std::find_if(rules_.begin(), rules_.end(), [&claims](const ClaimRule& r) { return Fits(r, claims); });
  if (rule == rules_.end()) {
    return NotAllowed(
        fmt::format("no rule of {} fits the claims of the JWT, whose subject is \"{}\": an administrator "
                    "can add one that gives it a role",
                    file_name_, SubjectOf(claims)));
  }
  const std::string owner = TextAt(claims, rule->owner_claim);
  const std::string name = rule->owner_prefix + owner;
  if (owner.empty() || !IsCallerName(name)) {
    return NotAllowed(
        fmt::format("the claim {} of the JWT, \"{}\", cannot name its holder: {}. The rule in line {} of "
                    "{} can name another claim with owner_claim",
                    fmt::join(rule->owner_claim, "/"), Shown(owner), kFormOfCallerName, rule->line, file_name_));
  }
  Caller caller{.name = name, .role = rule->role, .worker = rule->worker};
  if (rule->worker_claim.empty()) return caller;
  caller.worker = TextAt(claims, rule->worker_claim);
  if (IsWorkerId(caller.worker)) return caller;
  return NotAllowed(
      fmt::format("the claim {} of the JWT, \"{}\", is not a worker's id. The rule in line {} of {} can name "
                  "another claim with worker_claim, or the workers with worker",
                  fmt::join(rule->worker_claim, "/"), Shown(caller.worker), rule->line, file_name_));
}

std::string SubjectOf(const nlohmann::json& claims) { return Shown(TextAt(claims, {"sub"})); }

}  // namespace regroup
