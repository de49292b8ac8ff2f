// Macros that return early on a failed absl::Status or absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

/// Returns the status from the enclosing function unless it is OK.
#define REGROUP_RETURN_IF_ERROR(expression)            \
  do {                                                 \
    absl::Status regroup_status_ = (expression);       \
    if (!regroup_status_.ok()) return regroup_status_; \
  } while (false)

#define REGROUP_CONCAT_INNER(a, b) a##b
#define REGROUP_CONCAT(a, b) REGROUP_CONCAT_INNER(a, b)

/// Assigns the value of a StatusOr to `target` (which may be a declaration), or returns its status.
#define REGROUP_ASSIGN_OR_RETURN(target, expression) \
  REGROUP_ASSIGN_OR_RETURN_IMPL(REGROUP_CONCAT(regroup_statusor_, __LINE__), target, expression)
#define REGROUP_ASSIGN_OR_RETURN_IMPL(temporary, target, expression) \
  auto temporary = (expression);                                     \
  if (!temporary.ok()) return std::move(temporary).status();         \
  target = std::move(temporary).value()
