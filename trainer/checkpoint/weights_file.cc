#include "trainer/checkpoint/weights_file.h"

#include "trainer/checkpoint/safetensors_file.h"
#include "trainer/checkpoint/torch_file.h"

namespace regroup {

absl::StatusOr<std::shared_ptr<const WeightsFile>> OpenWeightsFile(const std::filesystem::path& path) {
  if (path.extension() == ".safetensors") return SafetensorsFile::Open(path);
  return TorchFile::Open(path);
}

}  // namespace regroup
