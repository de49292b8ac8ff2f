#include "trainer/parallel/device.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "services/common/base/gpus.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "trainer/parallel/cuda_plugin.h"

namespace regroup {
namespace {

constexpr double kGiB = 1 << 30;
/// Bytes that CUDA holds for this process, and the share of a GPU's memory that others, such as a desktop, may hold.
constexpr double kContextBytes = 1 * kGiB;
constexpr double kHeldShare = 0.1;

/// Returns this rank's index among those on this machine, which selects its GPU.
int LocalRank() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  return rank == nullptr ? 0 : std::atoi(rank);
}

}  // namespace

absl::StatusOr<int> GpuOfRank(int local_rank, int gpus) {
  if (local_rank < gpus) return local_rank;
  return absl::FailedPreconditionError(
      fmt::format("rank {} of this machine has no GPU of its own: CUDA finds {}; start fewer ranks, or see that the "
                  "driver reports all GPUs (nvidia-smi)",
                  local_rank, gpus));
}

absl::Status AgreeOnDevice(Communicator& host, at::Device device) {
  at::Tensor on_gpus = at::zeros({host.size()}, at::kFloat);
  on_gpus[host.rank()] = device.is_cuda() ? 1 : 0;
  REGROUP_RETURN_IF_ERROR(host.AllReduceSum(on_gpus));
  std::string with, without;
  for (int rank = 0; rank < host.size(); ++rank) {
    std::string& names = on_gpus[rank].item<float>() > 0 ? with : without;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", rank);
  }
  if (with.empty() || without.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("ranks {} compute on GPUs and ranks {} on CPUs; give every worker of the gang GPUs, or write "
                  "resources: {{device: cpu}}",
                  with, without));
}

absl::StatusOr<at::Device> ChooseDevice(const std::string& wanted) {
  // Without a GPU's device file there is no reason to load the CUDA libraries.
  if (wanted == "cpu" || (wanted != "cuda" && VisibleGpus().empty())) return at::Device(at::kCPU);
  const auto plugin = LoadCudaPlugin();
  if (!plugin.ok() && wanted != "cuda") {
    LogWarning("this machine has a GPU, but the task falls back to the CPU",
               {{"reason", std::string(plugin.status().message())}});
    return at::Device(at::kCPU);
  }
  if (!plugin.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("resources.device is cuda, but {}", std::string(plugin.status().message())));
  }
  std::string why;
  const int devices = (*plugin)->device_count(why);
  if (devices == 0) {
    return absl::FailedPreconditionError(fmt::format(
        "{}CUDA cannot use a GPU of this machine: {}; see nvidia-smi there, or write resources: {{device: cpu}}",
        wanted == "cuda" ? "resources.device is cuda, but " : "", why));
  }
  REGROUP_ASSIGN_OR_RETURN(const int device, GpuOfRank(LocalRank(), devices));
  (*plugin)->use_device(device);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device));
}

std::optional<int64_t> GpuMemoryBytes(int device) {
  if (VisibleGpus().empty()) return std::nullopt;
  const auto plugin = LoadCudaPlugin();
  std::string why;
  if (!plugin.ok() || (*plugin)->device_count(why) <= device) return std::nullopt;
  return (*plugin)->memory_bytes(device);
}

absl::Status CheckFreeMemory(at::Device device) {
  if (!device.is_cuda()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const CudaPlugin* plugin, LoadCudaPlugin());
  const auto all = static_cast<double>(plugin->memory_bytes(device.index()));
  const double held = all - static_cast<double>(plugin->free_memory_bytes(device.index()));
  if (held <= kContextBytes + kHeldShare * all) return absl::OkStatus();
  return absl::UnavailableError(fmt::format(
      "GPU {} has {:.1f} GiB, of which other programs hold {:.1f} GiB; end them (nvidia-smi lists them), or give the "
      "worker other GPUs by CUDA_VISIBLE_DEVICES",
      device.index(), all / kGiB, held / kGiB));
}

absl::StatusOr<std::unique_ptr<Communicator>> JoinGang(at::Device device, LostGpu lost) {
  if (!StartedByMpirun()) return MakeSelfCommunicator();
  REGROUP_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> host, MakeMpiCommunicator());
  REGROUP_RETURN_IF_ERROR(AgreeOnDevice(*host, device));
  if (!device.is_cuda()) return host;
  REGROUP_ASSIGN_OR_RETURN(const CudaPlugin* plugin, LoadCudaPlugin());
  std::string error;
  std::unique_ptr<Communicator> gang(plugin->make_communicator(host.release(), device.index(), std::move(lost), error));
  if (gang == nullptr) return absl::UnavailableError(error);
  return gang;
}

void AbortWith(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace regroup
