#include "trainer/checkpoint/weights_file.h"

#include "trainer/checkpoint/safetensors_file.h"

namespace regroup {

absl::StatusOr<std::shared_ptr<const WeightsFile>> OpenWeightsFile(const std::filesystem::path& path) {
  return SafetensorsFile::Open(path);
}

}  // namespace regroup
