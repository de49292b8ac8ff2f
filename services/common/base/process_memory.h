// Memory that this process uses and may use.
#pragma once

#include <cstddef>

namespace regroup {

struct ProcessMemory {
  /// Bytes in main memory, and of the address space.
  size_t resident = 0;
  size_t virtual_size = 0;
};

/// Returns the memory in use, as /proc/self/statm has it; 0 if it cannot be read.
ProcessMemory MemoryInUse();

/// Returns the bytes of the machine or, if that is less, of the tightest control group that the process is in.
size_t UsableMemory();

}  // namespace regroup
