#include "trainer/layerwise/residual_streams.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {

class ResidualStreams::Part {
 public:
  static absl::StatusOr<std::shared_ptr<const Part>> Open(const std::filesystem::path& path, int flags) {
    const int descriptor = open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (descriptor < 0) return ErrnoStatus(errno, "open", path);
    return std::shared_ptr<const Part>(new Part(descriptor, path));
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  ~Part() { close(descriptor_); }

  /// Reserves the blocks, so that a full disk shows before the work and not in the middle of it.
  absl::Status Reserve(int64_t bytes) const {
    const int error = bytes == 0 ? 0 : posix_fallocate(descriptor_, 0, bytes);
    return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "reserve space for", path_);
  }

  absl::Status Read(char* bytes, int64_t count, int64_t offset) const {
    while (count > 0) {
      const ssize_t got = pread(descriptor_, bytes, static_cast<size_t>(count), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoStatus(errno, "read", path_);
      if (got == 0) return absl::DataLossError(fmt::format("{} ends at byte {}", path_.string(), offset));
      bytes += got;
      count -= got;
      offset += got;
    }
    return absl::OkStatus();
  }

  absl::Status Write(const char* bytes, int64_t count, int64_t offset) const {
    while (count > 0) {
      const ssize_t put = pwrite(descriptor_, bytes, static_cast<size_t>(count), offset);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return ErrnoStatus(errno, "write", path_);
      bytes += put;
      count -= put;
      offset += put;
    }
    return absl::OkStatus();
  }

 private:
  Part(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}

  const int descriptor_;
  const std::filesystem::path path_;
};

int64_t WindowsInPart(int64_t windows, int64_t part, int64_t parts) { return (windows - part + parts - 1) / parts; }

absl::StatusOr<ResidualStreams> ResidualStreams::Create(const std::filesystem::path& file, const StreamShape& shape) {
  REGROUP_ASSIGN_OR_RETURN(std::shared_ptr<const Part> part, Part::Open(file, O_RDWR | O_CREAT | O_TRUNC));
  REGROUP_RETURN_IF_ERROR(part->Reserve(shape.Bytes()));
  return ResidualStreams({std::move(part)}, shape);
}

absl::StatusOr<ResidualStreams> ResidualStreams::Open(const std::vector<std::filesystem::path>& files,
                                                      const StreamShape& shape) {
  std::vector<std::shared_ptr<const Part>> parts;
  const auto count = static_cast<int64_t>(files.size());
  for (int64_t part = 0; part < count; ++part) {
    StreamShape own = shape;
    own.windows = WindowsInPart(shape.windows, part, count);
    std::error_code error;
    const auto bytes = std::filesystem::file_size(files[part], error);
    if (error) return ErrnoStatus(error.value(), "open", files[part]);
    if (static_cast<int64_t>(bytes) != own.Bytes()) {
      return absl::DataLossError(
          fmt::format("{} has {} bytes instead of {}", files[part].string(), bytes, own.Bytes()));
    }
    REGROUP_ASSIGN_OR_RETURN(parts.emplace_back(), Part::Open(files[part], O_RDONLY));
  }
  return ResidualStreams(std::move(parts), shape);
}

const ResidualStreams::Part& ResidualStreams::PartOf(int64_t window) const {
  return *parts_[window % static_cast<int64_t>(parts_.size())];
}

int64_t ResidualStreams::OffsetOf(int64_t window) const {
  return window / static_cast<int64_t>(parts_.size()) * RowBytes();
}

absl::StatusOr<at::Tensor> ResidualStreams::Read(const std::vector<int64_t>& windows, at::ScalarType dtype,
                                                 at::Device device) const {
  at::Tensor streams =
      at::empty({static_cast<int64_t>(windows.size()), shape_.tokens, shape_.hidden_size}, at::kBFloat16);
  char* row = static_cast<char*>(streams.mutable_data_ptr());
  for (const int64_t window : windows) {
    REGROUP_RETURN_IF_ERROR(PartOf(window).Read(row, RowBytes(), OffsetOf(window)));
    row += RowBytes();
  }
  return streams.to(device, dtype);
}

absl::Status ResidualStreams::Write(const std::vector<int64_t>& windows, const at::Tensor& streams) {
  const at::Tensor rounded = streams.detach().to(at::kCPU, at::kBFloat16).contiguous();
  const char* row = static_cast<const char*>(rounded.const_data_ptr());
  for (const int64_t window : windows) {
    REGROUP_RETURN_IF_ERROR(PartOf(window).Write(row, RowBytes(), OffsetOf(window)));
    row += RowBytes();
  }
  return absl::OkStatus();
}

}  // namespace regroup
