// A field of every line that this program logs from now on.
#pragma once

#include <string>

namespace regroup {

/// Adds a key and a value to all later lines in JSON. Call once, after InitLogging and before other threads log.
void SetLogContext(std::string key, std::string value);

}  // namespace regroup
