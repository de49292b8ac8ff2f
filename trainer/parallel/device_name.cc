#include "trainer/parallel/device_name.h"

#include "services/common/base/hardware_names.h"

namespace regroup {

std::string DeviceName(at::Device device) {
  const std::string name = device.is_cuda() ? GpuName() : ProcessorName();
  if (!name.empty()) return name;
  return device.is_cuda() ? "CUDA device" : "CPU";
}

}  // namespace regroup
