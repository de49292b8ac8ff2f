#include "trainer/checkpoint/safetensors_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string_view>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/safetensors_header.h"
#include "trainer/checkpoint/torch_dtype.h"

namespace regroup {
namespace {

/// A file under a temporary name, which is removed unless Publish() succeeded.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::filesystem::path path)
      : path_(std::move(path)), temporary_(fmt::format("{}.{}.tmp", path_.string(), getpid())) {}
  ~TemporaryFile() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(temporary_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  absl::Status Create() {
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd_ < 0 ? ErrnoStatus(errno, "create", temporary_) : absl::OkStatus();
  }

  absl::Status Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoStatus(errno, "write", temporary_);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Publish() {
    if (fsync(fd_) != 0) return ErrnoStatus(errno, "fsync", temporary_);
    if (rename(temporary_.c_str(), path_.c_str()) != 0) return ErrnoStatus(errno, "rename to", path_);
    close(fd_);
    fd_ = -1;
    return SyncPath(path_.parent_path());
  }

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
};

absl::Status CheckNames(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  std::set<std::string_view> seen;
  for (const auto& [name, tensor] : tensors) {
    if (name == "__metadata__" || !seen.insert(name).second) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" {}", path.string(), name,
                      name == "__metadata__" ? "has a name that the format reserves" : "is given twice"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsHeader> HeaderOf(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  SafetensorsHeader header;
  uint64_t end = 0;
  for (const auto& [name, tensor] : tensors) {
    const absl::StatusOr<SafetensorsDtype> dtype = ToSafetensorsDtype(tensor.scalar_type());
    if (!dtype.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\": {}", path.string(), name, std::string(dtype.status().message())));
    }
    const uint64_t begin = end;
    end += static_cast<uint64_t>(tensor.numel() * SafetensorsDtypeBytes(*dtype));
    header.entries.push_back({name, *dtype, tensor.sizes().vec(), begin, end});
  }
  return header;
}

std::vector<NamedTensor> WiderElementsFirst(std::vector<NamedTensor> tensors) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return a.second.element_size() > b.second.element_size();
  });
  return tensors;
}

absl::Status WriteTensor(TemporaryFile& file, const at::Tensor& tensor) {
  const at::Tensor bytes = tensor.detach().cpu().contiguous();
  return file.Write(std::string_view(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()));
}

}  // namespace

absl::Status WriteSafetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  REGROUP_RETURN_IF_ERROR(CheckNames(path, tensors));
  const std::vector<NamedTensor> ordered = WiderElementsFirst(tensors);
  REGROUP_ASSIGN_OR_RETURN(SafetensorsHeader header, HeaderOf(path, ordered));
  header.metadata = metadata;
  TemporaryFile file(path);
  REGROUP_RETURN_IF_ERROR(file.Create());
  REGROUP_RETURN_IF_ERROR(file.Write(FormatSafetensorsHeader(header)));
  for (const auto& [name, tensor] : ordered) REGROUP_RETURN_IF_ERROR(WriteTensor(file, tensor));
  return file.Publish();
}

}  // namespace regroup
