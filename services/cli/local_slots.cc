#include "services/cli/local_slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "services/common/base/gpus.h"

namespace regroup {
namespace {

int LargestGang(const v1::JobSpec& spec) {
  return std::max({spec.calibration().ranks(), spec.finetune().ranks(), spec.evaluation().ranks()});
}

}  // namespace

LocalHardware ThisHardware() {
  return {.cores = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1U)),
          .gpus = static_cast<int>(VisibleGpus().size())};
}

bool UsesGpus(const v1::JobSpec& resolved, const LocalHardware& hardware) {
  return hardware.gpus > 0 && resolved.resources().device() != "cpu";
}

absl::StatusOr<int> SlotsFor(const LocalWorkers& workers, const v1::JobSpec& resolved, const LocalHardware& hardware) {
  const int gang = LargestGang(resolved), asked = workers.slots;
  const bool on_gpus = UsesGpus(resolved, hardware);
  if (on_gpus && workers.workers > 1) {
    return absl::InvalidArgumentError(
        "--workers: the workers would share this machine's GPUs; leave it out, or write resources: {device: cpu}");
  }
  if (on_gpus && std::max(asked, gang) > hardware.gpus) {
    return absl::InvalidArgumentError(fmt::format(
        "{} but this process may use {} GPU{}, and each rank needs its own; ask for fewer, or write "
        "resources: {{device: cpu}}",
        asked > gang ? fmt::format("--slots is {},", asked) : fmt::format("the job asks for {} ranks together,", gang),
        hardware.gpus, hardware.gpus == 1 ? "" : "s"));
  }
  if (asked == 0) return std::max(gang, on_gpus ? hardware.gpus : std::min(2, hardware.cores));
  if (asked >= gang) return asked;
  return absl::InvalidArgumentError(
      fmt::format("the job asks for {} ranks together, but --slots {} leaves a worker only {}; write --slots {}", gang,
                  asked, asked, gang));
}

}  // namespace regroup
