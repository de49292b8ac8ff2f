#include "coordinator/api/quota_file.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/yaml_tree.h"

namespace regroup {
namespace {

constexpr char kOthers[] = "*";
constexpr int kLargestLimit = 1'000'000;

class QuotaReader {
 public:
  explicit QuotaReader(std::string_view file_name) : file_name_(file_name) {}

  absl::StatusOr<Quotas> Read(const YamlNode& root) const {
    Quotas quotas;
    for (const YamlNode::Entry& owner : root.entries) {
      if (owner.key.empty()) return Invalid(owner.position, "write the name of an owner, or \"*\" for all others");
      REGROUP_ASSIGN_OR_RETURN(const Quota quota, ReadQuota(owner));
      (owner.key == kOthers ? quotas.of_others : quotas.of_owner[owner.key]) = quota;
    }
    return quotas;
  }

 private:
  absl::Status Invalid(Position position, const std::string& message) const {
    return absl::InvalidArgumentError(AtPosition(file_name_, position, message));
  }

  absl::StatusOr<Quota> ReadQuota(const YamlNode::Entry& owner) const {
    if (owner.value.kind != YamlNode::Kind::kMapping) {
      return Invalid(owner.value.position, fmt::format("{}: write the limits as {{slots: 8, jobs: 50}}", owner.key));
    }
    Quota quota;
    for (const YamlNode::Entry& limit : owner.value.entries) {
      if (limit.key != "slots" && limit.key != "jobs") {
        return Invalid(limit.position, fmt::format("{}.{} is unknown; write slots or jobs", owner.key, limit.key));
      }
      REGROUP_ASSIGN_OR_RETURN((limit.key == "slots" ? quota.slots : quota.jobs), ReadLimit(owner.key, limit));
    }
    return quota;
  }

  absl::StatusOr<int> ReadLimit(const std::string& owner, const YamlNode::Entry& limit) const {
    const std::string& text = limit.value.text;
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool is_number = limit.value.kind == YamlNode::Kind::kScalar && !limit.value.quoted && error == std::errc() &&
                           end == text.data() + text.size();
    if (is_number && number >= 0 && number <= kLargestLimit) return number;
    return Invalid(limit.value.position,
                   fmt::format("{}.{}: write a whole number from 0 to {}", owner, limit.key, kLargestLimit));
  }

  const std::string_view file_name_;
};

}  // namespace

absl::StatusOr<Quotas> ParseQuotas(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(text, file_name));
  return QuotaReader(file_name).Read(root);
}

absl::StatusOr<Quotas> ReadQuotas(const std::filesystem::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaximumBytes));
  return ParseQuotas(text, file.string());
}

}  // namespace regroup
