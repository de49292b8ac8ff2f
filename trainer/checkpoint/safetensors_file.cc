#include "trainer/checkpoint/safetensors_file.h"

#include <fmt/format.h>

#include <utility>

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/torch_dtype.h"

namespace regroup {
absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(auto mapping, MappedInput::Open(path));
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile(std::move(mapping)));
  const std::string_view bytes = file->mapping_->bytes();
  REGROUP_ASSIGN_OR_RETURN(file->header_, ParseSafetensorsHeader(bytes, bytes.size(), path.string()));
  for (size_t i = 0; i < file->header_.entries.size(); ++i) file->index_by_name_[file->header_.entries[i].name] = i;
  return file;
}

std::vector<TensorInfo> SafetensorsFile::tensors() const {
  std::vector<TensorInfo> tensors;
  for (const SafetensorsEntry& entry : entries()) tensors.push_back({entry.name, entry.dtype, entry.shape});
  return tensors;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : entries()) names.push_back(entry.name);
  return names;
}

absl::StatusOr<at::Tensor> SafetensorsFile::Tensor(std::string_view name) const {
  const auto found = index_by_name_.find(name);
  if (found == index_by_name_.end()) {
    return absl::NotFoundError(fmt::format("{} has no tensor \"{}\"", path().string(), name));
  }
  const SafetensorsEntry& entry = header_.entries[found->second];
  const std::string_view bytes = mapping_->bytes().substr(header_.data_offset + entry.begin, entry.end - entry.begin);
  const at::TensorOptions options = at::TensorOptions().dtype(ToScalarType(entry.dtype));
  if (bytes.empty()) return at::empty(entry.shape, options);
  if (!IsAligned(bytes.data(), entry.dtype)) {
    at::Tensor copy = at::empty(entry.shape, options);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(copy.data_ptr()));
    return copy;
  }
  // The deleter keeps the mapping alive until the last tensor that uses it is destroyed.
  return at::from_blob(
      const_cast<char*>(bytes.data()), entry.shape, [keep = mapping_](void*) {}, options);
}

}  // namespace regroup
