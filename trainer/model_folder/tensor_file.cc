#include "trainer/model_folder/tensor_file.h"

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/safetensors_file.h"
#include "trainer/checkpoint/safetensors_writer.h"

namespace regroup {

absl::Status SaveTensors(const std::filesystem::path& path, const NamedTensors& tensors) {
  return WriteSafetensors(path, tensors);
}

absl::StatusOr<TensorMap> LoadTensors(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  TensorMap tensors;
  for (const std::string& name : file->names()) {
    REGROUP_ASSIGN_OR_RETURN(tensors[name], file->Tensor(name));
  }
  return tensors;
}

}  // namespace regroup
