// Defines callers, their roles, and one table of the whole API with the roles that may make each call. A call that is
// not in the table is rejected for every role. Values and pure functions, for any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace regroup {

/// Roles of callers. The values are bits, so that a rule can name several.
enum class Role : unsigned {
  /// Sees everything, changes nothing.
  kViewer = 1,
  /// Submits jobs; sees and changes its own.
  kSubmitter = 2,
  /// Sees and changes everything that people may.
  kAdmin = 4,
  /// Takes tasks and reports on them.
  kWorker = 8,
  /// Any caller of a coordinator without tokens, which only this machine can reach. May do everything.
  kLocal = 16,
};

/// Returns "viewer" and so on.
std::string_view RoleName(Role role);
/// Returns the role of that name, if a person may give it: every one but kLocal.
std::optional<Role> RoleFromName(std::string_view name);

/// See jwt_identity.h.
struct VerifiedToken;

struct Caller {
  /// The token's name, or the owner that a JSON Web Token names; empty for kLocal.
  std::string name;
  Role role = Role::kLocal;
  /// The workers that it speaks for, see worker_binding.h; empty for other roles.
  std::string worker = "";
  /// Address of the caller, as gRPC writes it.
  std::string peer;
  /// SHA-256 of the token, hexadecimal; empty for kLocal.
  std::string token_digest;
  /// The caller's JSON Web Token; null for a token of the token file.
  std::shared_ptr<const VerifiedToken> jwt;

  /// Returns true if the caller may see the owner's jobs; a submitter sees only its own.
  bool SeesJobOf(const std::string& owner) const { return role != Role::kSubmitter || owner == name; }
};

struct AccessRule {
  /// For example "JobService/SubmitJob".
  std::string_view method;
  /// Bits of Role; kLocal is always allowed.
  unsigned roles = 0;
};

const std::vector<AccessRule>& AccessRules();

bool MayCall(Role role, std::string_view method);

/// Returns the roles that may make the call, for example "submitter or admin".
std::string RolesThatMayCall(std::string_view method);

}  // namespace regroup
