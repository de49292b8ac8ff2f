// Errors whose reason is the machine: no memory, or a GPU that has failed. Any thread may call the functions.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace regroup {

/// Returns RESOURCE_EXHAUSTED: "out of memory", with what was asked for if that is known.
absl::Status OutOfMemory(const std::optional<std::string>& asked_for = std::nullopt);

/// Returns true for a status that OutOfMemory made, also with text before its message.
bool IsOutOfMemory(const absl::Status& status);

/// Returns OutOfMemory for std::bad_alloc and for the errors of libtorch's allocators, which are recognised by their
/// text (those of the CPU have no type of their own); UNAVAILABLE for a GPU that has failed, which another machine may
/// not have; FAILED_PRECONDITION for one that is too old; INTERNAL with the exception's text for any other.
absl::Status StatusOfException(const std::exception& error);

}  // namespace regroup
