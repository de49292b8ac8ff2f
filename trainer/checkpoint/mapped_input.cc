#include "trainer/checkpoint/mapped_input.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"

namespace regroup {

MappedInput::MappedInput(std::filesystem::path path, const char* data, size_t bytes)
    : path_(std::move(path)), data_(data), bytes_(bytes), known_(data, bytes, path_) {}

MappedInput::~MappedInput() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), bytes_);
}

absl::StatusOr<std::shared_ptr<const MappedInput>> MappedInput::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.bytes() == 0) return std::shared_ptr<const MappedInput>(new MappedInput(path, nullptr, 0));
  void* data = mmap(nullptr, file.bytes(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data == MAP_FAILED) return ErrnoStatus(errno, "map", path);
  return std::shared_ptr<const MappedInput>(new MappedInput(path, static_cast<const char*>(data), file.bytes()));
}

}  // namespace regroup
