#include "services/worker/logs/log_file_tail.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace regroup {
namespace {

/// A line without an end is given out in pieces of this size.
constexpr size_t kLongestLine = 64 * 1024;
constexpr int64_t kBlockBytes = 4096;

}  // namespace

LogFileTail::LogFileTail(LogFileTail&& other) noexcept
    : path_(other.path_),
      kept_bytes_(other.kept_bytes_),
      fd_(std::exchange(other.fd_, -1)),
      read_bytes_(other.read_bytes_),
      given_back_(other.given_back_),
      unfinished_(std::move(other.unfinished_)) {}

LogFileTail::~LogFileTail() {
  if (fd_ >= 0) close(fd_);
}

bool LogFileTail::ReadLines(size_t most_bytes, const std::function<void(std::string_view)>& on_line) {
  const bool has_more = ReadSome(most_bytes, on_line);
  if (read_bytes_ - given_back_ > 2 * kept_bytes_) GiveBackOldBlocks();
  return has_more;
}

void LogFileTail::GiveBackOldBlocks() {
  const int64_t end = (read_bytes_ - kept_bytes_) / kBlockBytes * kBlockBytes;
  const int fd = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  // Where it fails the file is only larger.
  (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, given_back_, end - given_back_);
  close(fd);
  given_back_ = end;
}

bool LogFileTail::ReadSome(size_t most_bytes, const std::function<void(std::string_view)>& on_line) {
  if (fd_ < 0) fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) return false;
  char buffer[16 * 1024];
  for (size_t total = 0; total < most_bytes;) {
    const ssize_t count = read(fd_, buffer, sizeof buffer);
    if (count <= 0) return false;
    total += static_cast<size_t>(count);
    read_bytes_ += count;
    unfinished_.append(buffer, static_cast<size_t>(count));
    size_t start = 0;
    for (size_t end; (end = unfinished_.find('\n', start)) != std::string::npos; start = end + 1) {
      on_line(std::string_view(unfinished_).substr(start, end - start));
    }
    unfinished_.erase(0, start);
    if (unfinished_.size() > kLongestLine) ReadUnfinishedLine(on_line);
  }
  return true;
}

void LogFileTail::ReadUnfinishedLine(const std::function<void(std::string_view)>& on_line) {
  if (unfinished_.empty()) return;
  on_line(unfinished_);
  unfinished_.clear();
}

}  // namespace regroup
