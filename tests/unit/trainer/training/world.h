// The communicator that a test program runs on: MPI's where mpirun started it, otherwise the one of a single process.
// The same tests run both ways.
#pragma once

#include <filesystem>

#include "trainer/parallel/communicator.h"

namespace regroup {

/// Lives until the tests are over.
Communicator& World();

/// A folder that all ranks see, made and emptied by the first; call it on all ranks together.
std::filesystem::path SharedFolder(const char* name);

}  // namespace regroup
