// Memory that this process may use.
#pragma once

#include <cstddef>

namespace regroup {

/// Returns the bytes of the machine or, if that is less, of the tightest control group that the process is in.
size_t UsableMemory();

}  // namespace regroup
