// Which role may make which call: one table for the whole API. A call that is not in it is refused to everybody.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/access/caller.h"

namespace regroup {

struct AccessRule {
  /// For example "JobService/SubmitJob".
  std::string_view method;
  /// Bits of Role; kLocal is always allowed.
  unsigned roles = 0;
};

const std::vector<AccessRule>& AccessRules();

bool MayCall(Role role, std::string_view method);

/// The roles that may, for example "submitter or admin".
std::string RolesThatMayCall(std::string_view method);

}  // namespace regroup
