// The table that gives the holders of JSON Web Tokens a role and a name, from a YAML file:
//
//   rules:
//     - {claim: groups, value: ml-platform, role: admin}
//     - {claim: realm_access.roles, value: trainer, role: submitter, owner_claim: preferred_username, owner_prefix:
//     hr.}
//     - claim: sub
//       value: system:serviceaccount:ml:regroup-worker
//       role: worker
//       worker_claim: [kubernetes.io, pod, name]
//       owner_claim: [kubernetes.io, serviceaccount, name]
//
// A claim is a name, or a path of names that are separated by dots; names that hold dots themselves are written as a
// list. The first rule whose claim has the value, or holds it in a list, decides. A value that does not change, for any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"

namespace regroup {

/// Names of the members that lead from the claims to a value.
using ClaimPath = std::vector<std::string>;

struct ClaimRule {
  ClaimPath claim;
  std::string value;
  Role role = Role::kViewer;
  /// The claim that names the caller, and what is put before its value.
  ClaimPath owner_claim = {"sub"};
  std::string owner_prefix;
  /// For the role worker, one of these: the binding (see worker_binding.h), or the claim with the worker's id.
  std::string worker;
  ClaimPath worker_claim;
  /// Line of the file.
  int line = 0;
};

class ClaimRules {
 public:
  /// Reads the table. INVALID_ARGUMENT names file, line, column and key.
  static absl::StatusOr<ClaimRules> Parse(std::string_view text, std::string_view file_name);

  /// Returns name, role and worker of the holder of a verified token. PERMISSION_DENIED (NOT_ALLOWED) if no rule fits,
  /// or if the rule that does names a claim that cannot be a name or a worker's id; the message says what to change.
  absl::StatusOr<Caller> Identify(const nlohmann::json& claims) const;

  size_t size() const { return rules_.size(); }

 private:
  std::string file_name_;
  std::vector<ClaimRule> rules_;
};

/// Returns the claim `sub` as text that may be shown, cut to a line; empty if there is none.
std::string SubjectOf(const nlohmann::json& claims);

}  // namespace regroup
