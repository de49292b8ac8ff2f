// The workers that a worker's token speaks for: one id, or all ids with a prefix. Written as "node-1" or "node-*".
//
// Pure functions, for any thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"

namespace regroup {

/// Returns true for 1 to 63 lower-case letters, digits, hyphens and dots.
bool IsWorkerId(std::string_view id);

/// Returns true for a worker's id, or for the beginning of one followed by "*". A lone "*" is malformed: it would let
/// every worker act as every other.
bool IsWorkerBinding(std::string_view binding);

/// Returns the binding to exactly one of `id` and `prefix`, or "" if both are empty. INVALID_ARGUMENT if both are given
/// or one is malformed.
absl::StatusOr<std::string> MakeWorkerBinding(const std::string& id, const std::string& prefix);

/// Returns OK if the caller may speak for the worker. PERMISSION_DENIED (NOT_ALLOWED) says how to bind the token.
absl::Status CheckSpeaksFor(const Caller& caller, const std::string& worker);

}  // namespace regroup
