#include "trainer/checkpoint/safetensors_file.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/torch_dtype.h"

namespace regroup {
namespace {

struct Mapping {
  const char* data = nullptr;
  size_t bytes = 0;
};

absl::StatusOr<Mapping> MapFile(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.bytes() == 0) return Mapping{};
  void* data = mmap(nullptr, file.bytes(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data == MAP_FAILED) return ErrnoStatus(errno, "map", path);
  return Mapping{static_cast<const char*>(data), file.bytes()};
}

bool IsAligned(const char* data, int64_t element_bytes) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element_bytes) == 0;
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::filesystem::path path, const char* mapping, size_t mapped_bytes)
    : path_(std::move(path)), mapping_(mapping), mapped_bytes_(mapped_bytes), known_(mapping, mapped_bytes, path_) {}

SafetensorsFile::~SafetensorsFile() {
  if (mapping_ != nullptr) munmap(const_cast<char*>(mapping_), mapped_bytes_);
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const Mapping mapping, MapFile(path));
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile(path, mapping.data, mapping.bytes));
  REGROUP_ASSIGN_OR_RETURN(file->header_, ParseSafetensorsHeader(std::string_view(mapping.data, mapping.bytes),
                                                                 mapping.bytes, path.string()));
  for (size_t i = 0; i < file->header_.entries.size(); ++i) file->index_by_name_[file->header_.entries[i].name] = i;
  return file;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : entries()) names.push_back(entry.name);
  return names;
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto found = index_by_name_.find(name);
  return found == index_by_name_.end() ? nullptr : &header_.entries[found->second];
}

std::string_view SafetensorsFile::BytesOf(const SafetensorsEntry& entry) const {
  return std::string_view(mapping_ + header_.data_offset + entry.begin, entry.end - entry.begin);
}

absl::StatusOr<std::string_view> SafetensorsFile::Bytes(std::string_view name) const {
  const SafetensorsEntry* entry = Find(name);
  if (entry == nullptr) return absl::NotFoundError(fmt::format("{} has no tensor \"{}\"", path_.string(), name));
  return BytesOf(*entry);
}

absl::StatusOr<at::Tensor> SafetensorsFile::Tensor(std::string_view name) const {
  REGROUP_ASSIGN_OR_RETURN(const std::string_view bytes, Bytes(name));
  const SafetensorsEntry& entry = *Find(name);
  const at::TensorOptions options = at::TensorOptions().dtype(ToScalarType(entry.dtype));
  if (bytes.empty()) return at::empty(entry.shape, options);
  if (!IsAligned(bytes.data(), SafetensorsDtypeBytes(entry.dtype))) {
    at::Tensor copy = at::empty(entry.shape, options);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(copy.data_ptr()));
    return copy;
  }
  // The deleter keeps the mapping alive until the last tensor that uses it is destroyed.
  return at::from_blob(
      const_cast<char*>(bytes.data()), entry.shape, [keep = shared_from_this()](void*) {}, options);
}

}  // namespace regroup
