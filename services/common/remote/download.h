// Reads one file of an address into a local file, from where an earlier try stopped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "absl/status/status.h"
#include "services/common/remote/remote_files.h"

namespace regroup {

/// Called with the bytes that were read since the last call, which may be negative when a file starts anew; also called
/// while nothing arrives.
using CountBytes = std::function<void(int64_t bytes)>;

/// Makes `part` the whole file: appends what it lacks, in as many requests as it takes, checks the digest if there is
/// one, and fsyncs it. `part` stays after an error, unless its content is wrong. Errors: UNAVAILABLE after kTries
/// failures in a row or if the file changed meanwhile; DATA_LOSS for content that does not have the listed digest even
/// after it was read anew; RESOURCE_EXHAUSTED for a full disk; otherwise those of HttpClient and StatusOf.
absl::Status Download(const Address& address, const RemoteFile& file, const RemoteSettings& settings,
                      HttpClient& client, const std::filesystem::path& part, const CountBytes& count);

}  // namespace regroup
