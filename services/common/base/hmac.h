// Message authentication codes: HMAC with SHA-256 (RFC 2104). Pure function, for any thread.
#pragma once

#include <string>
#include <string_view>

namespace regroup {

/// Returns the 32 bytes of the code.
std::string HmacSha256(std::string_view key, std::string_view text);

}  // namespace regroup
