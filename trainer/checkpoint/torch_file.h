// A memory-mapped archive of torch.save, such as pytorch_model.bin: a zip file with a pickle that describes the tensors
// and one uncompressed member for each storage. Runs no code of the file (torch_pickle.h).
//
// Shared: every tensor handed out keeps the mapping alive. Immutable; any thread may call any function. The mapping is
// read-only, so writing to a tensor faults: clone() it first.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/mapped_input.h"
#include "trainer/checkpoint/torch_pickle.h"
#include "trainer/checkpoint/weights_file.h"

namespace regroup {

class TorchFile : public WeightsFile {
 public:
  /// Maps the file, reads the pickle and finds the storages. Errors: those of InputFile::Open, and DATA_LOSS for a file
  /// that is malformed, compressed, big-endian, written by torch before 1.6, or a program of TorchScript.
  static absl::StatusOr<std::shared_ptr<const TorchFile>> Open(const std::filesystem::path& path);

  const std::filesystem::path& path() const override { return mapping_->path(); }
  std::vector<TensorInfo> tensors() const override;
  /// Returns a view with the file's own strides; copied only where the file does not align its elements. NOT_FOUND.
  absl::StatusOr<at::Tensor> Tensor(std::string_view name) const override;

 private:
  struct Place {
    PickledTensor tensor;
    /// The bytes of the storage.
    std::string_view bytes;
  };

  TorchFile(std::shared_ptr<const MappedInput> mapping, std::vector<Place> places)
      : mapping_(std::move(mapping)), places_(std::move(places)) {}

  std::shared_ptr<const MappedInput> mapping_;
  /// Ordered by name.
  std::vector<Place> places_;
};

}  // namespace regroup
