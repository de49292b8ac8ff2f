// The W3C's trace context (https://www.w3.org/TR/trace-context/): the value of the header `traceparent`, which names a
// trace and the span that a call belongs to. Pure; for any thread.
#pragma once

#include <string_view>

namespace regroup {

/// The metadata key of a call, and the variable by which programs pass it to their children.
inline constexpr char kTraceparentKey[] = "traceparent";
inline constexpr char kTraceparentVariable[] = "TRACEPARENT";

/// Returns true for "00-<32 digits>-<16 digits>-<2 digits>", lower-case hexadecimal, with neither id all zeros. A later
/// version than 00 may have more behind a further hyphen; the version ff does not exist.
bool IsTraceparent(std::string_view text);

}  // namespace regroup
