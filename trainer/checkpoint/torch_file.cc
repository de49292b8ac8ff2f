#include "trainer/checkpoint/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/torch_archive.h"
#include "trainer/checkpoint/torch_dtype.h"

namespace regroup {
namespace {

bool IsEmpty(const PickledTensor& tensor) {
  return std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
}

/// Checks that no tensor repeats the elements of a small storage into one larger than the whole file, and that all of
/// them do so to no more than a multiple of it: they are written out one by one.
absl::Status CheckSizes(const std::vector<PickledTensor>& tensors, uint64_t file_bytes, const std::string& file) {
  constexpr uint64_t kMostCopies = 16;
  uint64_t all = 0;
  for (const PickledTensor& tensor : tensors) {
    if (IsEmpty(tensor)) continue;
    uint64_t bytes = static_cast<uint64_t>(SafetensorsDtypeBytes(tensor.dtype));
    bool overflows = false;
    for (const int64_t size : tensor.shape) overflows |= __builtin_mul_overflow(bytes, size, &bytes);
    if (overflows || bytes > file_bytes) {
      return absl::DataLossError(fmt::format(
          "{}: tensor \"{}\" repeats its elements to more bytes than the file has; save it with contiguous()", file,
          tensor.name));
    }
    all += bytes;
    if (all / kMostCopies > file_bytes) {
      return absl::DataLossError(fmt::format(
          "{}: its tensors repeat their elements to more than {} times the bytes of the file; save them with "
          "contiguous()",
          file, kMostCopies));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TorchFile>> TorchFile::Open(const std::filesystem::path& path) {
  const std::string file = path.string();
  REGROUP_ASSIGN_OR_RETURN(auto mapping, MappedInput::Open(path));
  REGROUP_ASSIGN_OR_RETURN(TorchArchive archive, TorchArchive::Open(mapping->bytes(), file));
  REGROUP_ASSIGN_OR_RETURN(const std::string_view pickle, archive.Member("data.pkl"));
  REGROUP_ASSIGN_OR_RETURN(std::vector<PickledTensor> tensors, ReadTorchPickle(pickle, file));
  REGROUP_RETURN_IF_ERROR(archive.CheckMember("data.pkl"));
  REGROUP_RETURN_IF_ERROR(CheckSizes(tensors, mapping->bytes().size(), file));
  std::map<std::string, std::string_view> storages;
  std::vector<Place> places;
  for (PickledTensor& tensor : tensors) {
    auto found = storages.find(tensor.storage);
    if (found == storages.end()) {
      REGROUP_ASSIGN_OR_RETURN(const std::string_view bytes, archive.Member("data/" + tensor.storage));
      found = storages.emplace(tensor.storage, bytes).first;
    }
    if (found->second.size() != static_cast<uint64_t>(tensor.storage_bytes)) {
      return absl::DataLossError(fmt::format("{}: tensor \"{}\" lies in a storage of {} bytes, but {} are stored", file,
                                             tensor.name, tensor.storage_bytes, found->second.size()));
    }
    places.push_back({std::move(tensor), found->second});
  }
  return std::shared_ptr<const TorchFile>(new TorchFile(std::move(mapping), std::move(places)));
}

std::vector<TensorInfo> TorchFile::tensors() const {
  std::vector<TensorInfo> tensors;
  for (const Place& place : places_) tensors.push_back({place.tensor.name, place.tensor.dtype, place.tensor.shape});
  return tensors;
}

absl::StatusOr<at::Tensor> TorchFile::Tensor(std::string_view name) const {
  const auto found =
      std::lower_bound(places_.begin(), places_.end(), name,
                       [](const Place& place, std::string_view wanted) { return place.tensor.name < wanted; });
  if (found == places_.end() || found->tensor.name != name) {
    return absl::NotFoundError(fmt::format("{} has no tensor \"{}\"", path().string(), name));
  }
  const PickledTensor& tensor = found->tensor;
  const at::TensorOptions options = at::TensorOptions().dtype(ToScalarType(tensor.dtype));
  const int64_t element_bytes = SafetensorsDtypeBytes(tensor.dtype);
  if (IsEmpty(tensor)) return at::empty(tensor.shape, options);
  const std::string_view bytes = found->bytes;
  if (IsAligned(bytes.data(), tensor.dtype)) {
    char* const first = const_cast<char*>(bytes.data()) + tensor.offset * element_bytes;
    return at::from_blob(
        first, tensor.shape, tensor.strides, [keep = mapping_](void*) {}, options);
  }
  const at::Tensor storage = at::empty({static_cast<int64_t>(bytes.size()) / element_bytes}, options);
  std::copy_n(bytes.begin(), storage.nbytes(), static_cast<char*>(storage.data_ptr()));
  return storage.as_strided(tensor.shape, tensor.strides, tensor.offset);
}

}  // namespace regroup
