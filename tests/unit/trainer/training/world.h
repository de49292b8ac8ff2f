// The communicator that a test program runs on: MPI's where mpirun started it, otherwise the one of a single process.
// With REGROUP_TEST_DEVICE=cuda it is that of a gang on GPUs. The same tests run every way.
#pragma once

#include <c10/core/Device.h>

#include <filesystem>

#include "trainer/parallel/communicator.h"

namespace regroup {

/// Lives until the tests are over.
Communicator& World();
/// Where the tensors lie that are given to it.
at::Device WorldDevice();

/// A folder that all ranks see, made and emptied by the first; call it on all ranks together.
std::filesystem::path SharedFolder(const char* name);

}  // namespace regroup
