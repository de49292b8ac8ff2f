#include "trainer/layerwise/residual_streams.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

at::Tensor Map(const std::filesystem::path& file, const StreamShape& shape, bool writable) {
  const int64_t entries = shape.windows * shape.tokens * shape.hidden_size;
  if (entries == 0) return at::empty({shape.windows, shape.tokens, shape.hidden_size}, at::kBFloat16);
  return at::from_file(file.string(), /*shared=*/writable, entries, at::TensorOptions(at::kBFloat16))
      .view({shape.windows, shape.tokens, shape.hidden_size});
}

/// Creates the file with all its blocks: writing to a mapped file on a full disk would end the process.
absl::Status Reserve(const std::filesystem::path& file, int64_t bytes) {
  const int descriptor = open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return ErrnoStatus(errno, "create", file);
  const int error = bytes == 0 ? 0 : posix_fallocate(descriptor, 0, bytes);
  close(descriptor);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "reserve space for", file);
}

}  // namespace

int64_t WindowsInPart(int64_t windows, int64_t part, int64_t parts) { return (windows - part + parts - 1) / parts; }

absl::StatusOr<ResidualStreams> ResidualStreams::Create(const std::filesystem::path& file, const StreamShape& shape) {
  REGROUP_RETURN_IF_ERROR(Reserve(file, shape.Bytes()));
  return ResidualStreams({Map(file, shape, /*writable=*/true)}, shape);
}

absl::StatusOr<ResidualStreams> ResidualStreams::Open(const std::vector<std::filesystem::path>& files,
                                                      const StreamShape& shape) {
  std::vector<at::Tensor> parts;
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
    parts.push_back(Map(files[part], own, /*writable=*/false));
  }
  return ResidualStreams(std::move(parts), shape);
}

at::Tensor ResidualStreams::Row(int64_t window) const {
  const auto parts = static_cast<int64_t>(parts_.size());
  return parts_[window % parts].select(0, window / parts);
}

at::Tensor ResidualStreams::Read(const std::vector<int64_t>& windows, at::ScalarType dtype, at::Device device) const {
  std::vector<at::Tensor> rows;
  for (const int64_t window : windows) rows.push_back(Row(window));
  return at::stack(rows).to(device, dtype);
}

void ResidualStreams::Write(const std::vector<int64_t>& windows, const at::Tensor& streams) {
  for (size_t i = 0; i < windows.size(); ++i) Row(windows[i]).copy_(streams.select(0, static_cast<int64_t>(i)));
}

}  // namespace regroup
