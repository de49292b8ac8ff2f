#include "trainer/parallel/cuda_plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace regroup {

absl::StatusOr<const CudaPlugin*> LoadCudaPlugin() {
  static std::string reason;
  static const CudaPlugin* const plugin = []() -> const CudaPlugin* {
    // Loaded globally, because libtorch_cuda registers itself with libtorch_cpu and is never unloaded.
    void* module = dlopen("libregroup_cuda.so", RTLD_NOW | RTLD_GLOBAL);
    if (module == nullptr) {
      reason = dlerror();
      return nullptr;
    }
    return static_cast<const CudaPlugin*>(dlsym(module, "RegroupCudaPlugin"));
  }();
  if (plugin == nullptr) return absl::NotFoundError(fmt::format("CUDA is not available: {}", reason));
  return plugin;
}

}  // namespace regroup
