// Computes the checksum of the records of event files: CRC-32C (Castagnoli), as in RFC 3720. Pure function, for any
// thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace regroup {

uint32_t Crc32c(std::string_view bytes);

}  // namespace regroup
