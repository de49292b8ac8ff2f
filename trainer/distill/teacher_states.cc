#include "trainer/distill/teacher_states.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Computes four sums side by side, for speed; each word's position affects the result. Never returns 0, the digest of
/// an unwritten record.
uint64_t Digest(const char* bytes, size_t count) {
  std::array<uint64_t, 4> sums = {1, 2, 3, 4};
  constexpr uint64_t kPrime = 0x9e3779b97f4a7c15ULL;
  size_t place = 0;
  for (; place + 32 <= count; place += 32) {
    std::array<uint64_t, 4> words{};
    std::memcpy(words.data(), bytes + place, 32);
    for (size_t i = 0; i < 4; ++i) {
      sums[i] = (sums[i] ^ words[i]) * kPrime;
      sums[i] ^= sums[i] >> 32;
    }
  }
  uint64_t digest = count;
  for (const uint64_t sum : sums) digest = (digest ^ sum) * kPrime;
  for (; place < count; ++place) digest = (digest ^ static_cast<unsigned char>(bytes[place])) * kPrime;
  return digest | 1;
}

/// Returns true if all bytes could be read.
bool ReadAt(int file, char* bytes, size_t count, int64_t offset) {
  while (count > 0) {
    const ssize_t got = pread(file, bytes, count, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    offset += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

bool WriteAt(int file, const char* bytes, size_t count, int64_t offset) {
  while (count > 0) {
    const ssize_t put = pwrite(file, bytes, count, offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    bytes += put;
    offset += put;
    count -= static_cast<size_t>(put);
  }
  return true;
}

}  // namespace

TeacherStates::TeacherStates(std::filesystem::path path, int file, Layout layout)
    : path_(std::move(path)), file_(file), layout_(std::move(layout)) {}

TeacherStates::TeacherStates(TeacherStates&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      layout_(std::move(other.layout_)),
      hits_(other.hits_) {}

TeacherStates& TeacherStates::operator=(TeacherStates&& other) noexcept {
  path_.swap(other.path_);
  std::swap(file_, other.file_);
  std::swap(layout_, other.layout_);
  hits_ = other.hits_;
  return *this;
}

TeacherStates::~TeacherStates() {
  if (file_ >= 0) close(file_);
}

absl::StatusOr<TeacherStates> TeacherStates::Open(const std::filesystem::path& folder, const Layout& layout) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  const std::string name = Sha256Of(fmt::format("{} {} {} {}", layout.positions, layout.hidden_size,
                                                c10::toString(layout.dtype), layout.fingerprint));
  std::filesystem::path path = folder / fmt::format("{}.states", name.substr(0, 16));
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (file < 0) return ErrnoStatus(errno, "opening", path);
  return TeacherStates(std::move(path), file, layout);
}

int64_t TeacherStates::RecordBytes() const {
  return static_cast<int64_t>(sizeof(uint64_t)) +
         layout_.positions * layout_.hidden_size * static_cast<int64_t>(c10::elementSize(layout_.dtype));
}

bool TeacherStates::Read(int64_t window, at::Tensor& states) const {
  uint64_t digest = 0;
  const int64_t offset = window * RecordBytes();
  char* const bytes = static_cast<char*>(states.mutable_data_ptr());
  return ReadAt(file_, reinterpret_cast<char*>(&digest), sizeof digest, offset) && digest != 0 &&
         ReadAt(file_, bytes, states.nbytes(), offset + static_cast<int64_t>(sizeof digest)) &&
         Digest(bytes, states.nbytes()) == digest;
}

absl::Status TeacherStates::Write(int64_t window, const at::Tensor& states) const {
  const char* const bytes = static_cast<const char*>(states.const_data_ptr());
  const uint64_t digest = Digest(bytes, states.nbytes());
  const int64_t offset = window * RecordBytes();
  if (WriteAt(file_, bytes, states.nbytes(), offset + static_cast<int64_t>(sizeof digest)) &&
      WriteAt(file_, reinterpret_cast<const char*>(&digest), sizeof digest, offset)) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "writing", path_);
}

absl::StatusOr<at::Tensor> TeacherStates::Get(int64_t window, const std::function<at::Tensor()>& compute) {
  at::Tensor states = at::empty({layout_.positions, layout_.hidden_size}, at::TensorOptions(layout_.dtype));
  if (Read(window, states)) {
    ++hits_;
    return states;
  }
  states.copy_(compute());
  REGROUP_RETURN_IF_ERROR(Write(window, states));
  return states;
}

}  // namespace regroup
