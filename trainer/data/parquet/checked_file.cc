#include "trainer/data/parquet/checked_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<CheckedFile> CheckedFile::Read(StoredBytes& stored) {
  CheckedFile file(stored);
  std::vector<char>& chunk = file.chunk_;
  chunk.reserve(kChunkBytes);
  while (true) {
    if (stored.rest().empty()) REGROUP_RETURN_IF_ERROR(stored.Fill());
    const std::string_view part = stored.rest().substr(0, kChunkBytes - chunk.size());
    chunk.insert(chunk.end(), part.begin(), part.end());
    stored.Use(part.size());
    file.bytes_ += part.size();
    if (chunk.size() < kChunkBytes && !part.empty()) continue;
    if (!chunk.empty()) file.digests_.push_back(Sha256Of({chunk.data(), chunk.size()}));
    chunk.clear();
    if (part.empty()) return file;
  }
}

absl::Status CheckedFile::ReadChunk(uint64_t index) {
  const uint64_t start = index * kChunkBytes;
  chunk_.resize(std::min<uint64_t>(kChunkBytes, bytes_ - start));
  size_t filled = 0;
  while (filled < chunk_.size()) {
    const ssize_t got = pread(stored_->file().descriptor(), chunk_.data() + filled, chunk_.size() - filled,
                              static_cast<off_t>(start + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return absl::InternalError(fmt::format("cannot read {}: {}", stored_->path().string(), strerror(errno)));
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  if (filled == chunk_.size() && Sha256Of({chunk_.data(), filled}) == digests_[index]) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{} was changed while it was read", stored_->path().string()));
}

absl::Status CheckedFile::ReadAt(uint64_t offset, char* buffer, size_t count) {
  if (offset > bytes_ || count > bytes_ - offset) {
    return absl::OutOfRangeError(fmt::format("{} has {} bytes, and {} from byte {} on were asked for",
                                             stored_->path().string(), bytes_, count, offset));
  }
  while (count > 0) {
    const uint64_t index = offset / kChunkBytes;
    REGROUP_RETURN_IF_ERROR(ReadChunk(index));
    const size_t skipped = offset % kChunkBytes;
    const size_t part = std::min(count, chunk_.size() - skipped);
    std::memcpy(buffer, chunk_.data() + skipped, part);
    buffer += part;
    offset += part;
    count -= part;
  }
  return absl::OkStatus();
}

}  // namespace regroup
