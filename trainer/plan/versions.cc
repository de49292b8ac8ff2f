#include "trainer/plan/versions.h"

#include <torch/headeronly/version.h>

namespace regroup {

std::string RegroupVersion() { return REGROUP_VERSION; }

std::string TorchVersion() {
  return std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) + "." +
         std::to_string(TORCH_VERSION_PATCH);
}

}  // namespace regroup
