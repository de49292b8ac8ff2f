// Who calls, and what kind of caller that is. Values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace regroup {

/// Bits, so that a rule can name several.
enum class Role : unsigned {
  /// Sees everything, changes nothing.
  kViewer = 1,
  /// Submits jobs; sees and changes its own.
  kSubmitter = 2,
  /// Sees and changes everything that people may.
  kAdmin = 4,
  /// Takes tasks and reports on them.
  kWorker = 8,
  /// Whoever reaches a coordinator that keeps no tokens, which is this machine only. May do everything.
  kLocal = 16,
};

/// "viewer" and so on.
std::string_view RoleName(Role role);
/// The role that a person may give: every one but kLocal.
std::optional<Role> RoleFromName(std::string_view name);

struct Caller {
  /// The token's name; empty for kLocal.
  std::string name;
  Role role = Role::kLocal;
  /// Where the call came from, as gRPC writes it.
  std::string peer;

  /// A submitter deals with its own jobs only.
  bool SeesJobOf(const std::string& owner) const { return role != Role::kSubmitter || owner == name; }
};

}  // namespace regroup
