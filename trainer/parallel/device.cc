#include "trainer/parallel/device.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "services/common/base/logging.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/parallel/cuda_plugin.h"

namespace regroup {
namespace {

/// Returns this rank's index among those on this machine, which selects its GPU.
int LocalRank() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  return rank == nullptr ? 0 : std::atoi(rank);
}

}  // namespace

absl::StatusOr<at::Device> ChooseDevice(const std::string& wanted) {
  // Without the driver's device file there is no reason to load the CUDA libraries.
  const bool driver = Exists("/dev/nvidiactl") || Exists("/dev/dxg");
  if (wanted == "cpu" || (wanted != "cuda" && !driver)) return at::Device(at::kCPU);
  const auto plugin = LoadCudaPlugin();
  const int devices = plugin.ok() ? (*plugin)->device_count() : 0;
  if (devices > 0) {
    const int device = LocalRank() % devices;
    (*plugin)->use_device(device);
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device));
  }
  if (wanted != "cuda") {
    if (!plugin.ok()) {
      LogWarning("this machine has a GPU, but the task falls back to the CPU",
                 {{"reason", std::string(plugin.status().message())}});
    }
    return at::Device(at::kCPU);
  }
  return absl::FailedPreconditionError(
      fmt::format("resources.device is cuda, but {}",
                  plugin.ok() ? "this machine has no GPU" : std::string(plugin.status().message())));
}

absl::StatusOr<std::unique_ptr<Communicator>> JoinGang(at::Device device) {
  if (!StartedByMpirun()) return MakeSelfCommunicator();
  REGROUP_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> host, MakeMpiCommunicator());
  if (!device.is_cuda()) return host;
  REGROUP_ASSIGN_OR_RETURN(const CudaPlugin* plugin, LoadCudaPlugin());
  std::string error;
  std::unique_ptr<Communicator> gang(plugin->make_communicator(host.release(), device.index(), error));
  if (gang == nullptr) return absl::UnavailableError(error);
  return gang;
}

}  // namespace regroup
