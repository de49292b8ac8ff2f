// How much of the cluster the jobs of each owner may use at once. Plain values; the cluster keeps the current ones.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace regroup {

/// Limits of one owner; without a value there is no limit.
struct Quota {
  /// Slots of the tasks that run.
  std::optional<int> slots;
  /// Unfinished jobs.
  std::optional<int> jobs;

  bool operator==(const Quota&) const = default;
};

struct Quotas {
  std::map<std::string, Quota> of_owner;
  /// Applies to owners that are not named.
  Quota of_others;

  /// Returns the owner's limits. Jobs without an owner have none: without tokens nobody knows whose they are.
  Quota Of(const std::string& owner) const {
    if (owner.empty()) return {};
    const auto found = of_owner.find(owner);
    return found == of_owner.end() ? of_others : found->second;
  }

  bool operator==(const Quotas&) const = default;
};

}  // namespace regroup
