// Decides whether the claims of a verified JSON Web Token are meant for this service and valid now (RFC 7519, 4.1).
//
// Pure functions, for any thread.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace regroup {

struct ClaimRequirements {
  /// Value of `iss`.
  std::string issuer;
  /// Value of `aud`, or one of its values.
  std::string audience;
  /// Allowed difference between the clocks of the issuer and of this machine.
  std::chrono::seconds leeway{60};
};

/// Returns OK if issuer and audience are the required ones, `exp` is given and in the future, and `nbf` and `iat`, if
/// given, are in the past. UNAUTHENTICATED states the error as the end of a sentence that begins with "the JWT".
absl::Status CheckClaims(const nlohmann::json& claims, const ClaimRequirements& required,
                         std::chrono::system_clock::time_point now);

/// Returns true once the claims' `exp`, which CheckClaims has accepted, and the leeway are over.
bool HasExpired(const nlohmann::json& claims, const ClaimRequirements& required,
                std::chrono::system_clock::time_point now);

}  // namespace regroup
