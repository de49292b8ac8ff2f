#include "coordinator/access/claim_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Time = std::chrono::system_clock::time_point;

absl::Status Refused(const std::string& reason) { return absl::UnauthenticatedError(reason); }

double Seconds(Time time) { return std::chrono::duration<double>(time.time_since_epoch()).count(); }

double Leeway(const ClaimRequirements& required) { return static_cast<double>(required.leeway.count()); }

bool IsMeantFor(const nlohmann::json& claims, const std::string& audience) {
  const auto value = claims.find("aud");
  if (value == claims.end()) return false;
  if (value->is_string()) return *value == audience;
  return value->is_array() && std::find(value->begin(), value->end(), audience) != value->end();
}

/// Returns OK for a time that is missing or in the past.
absl::Status CheckIsPast(const nlohmann::json& claims, const char* name, double latest) {
  const auto time = claims.find(name);
  if (time == claims.end()) return absl::OkStatus();
  if (!time->is_number()) return Refused(fmt::format("has a claim {} that is not a number", name));
  if (time->get<double>() <= latest) return absl::OkStatus();
  return Refused(
      fmt::format("has a claim {} in the future: compare the clocks of its issuer and the coordinator", name));
}

}  // namespace

absl::Status CheckClaims(const nlohmann::json& claims, const ClaimRequirements& required, Time now) {
  const auto issuer = claims.find("iss");
  if (issuer == claims.end() || *issuer != required.issuer) {
    return Refused("is from another issuer than that of --jwt-issuer");
  }
  if (!IsMeantFor(claims, required.audience)) return Refused("is for another audience than that of --jwt-audience");
  const auto expiry = claims.find("exp");
  if (expiry == claims.end() || !expiry->is_number()) return Refused("has no claim exp");
  if (HasExpired(claims, required, now)) return Refused("has expired; get a new one from its issuer");
  const double latest = Seconds(now) + Leeway(required);
  REGROUP_RETURN_IF_ERROR(CheckIsPast(claims, "nbf", latest));
  return CheckIsPast(claims, "iat", latest);
}

bool HasExpired(const nlohmann::json& claims, const ClaimRequirements& required, Time now) {
  return Seconds(now) >= claims.at("exp").get<double>() + Leeway(required);
}

}  // namespace regroup
