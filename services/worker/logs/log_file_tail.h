// Reads complete lines from a file that another process appends to. Not thread-safe.
//
// The file is kept from filling the disk: of what was read, only the end stays; earlier blocks are given back to the
// file system while the file keeps its length, so that whoever appends is not disturbed. Where the file system cannot
// do that (NFS before 4.2), the file grows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace regroup {

class LogFileTail {
 public:
  static constexpr int64_t kKeptBytes = 16 << 20;

  /// Between `kept_bytes` and twice as much of what was read stays on the disk.
  explicit LogFileTail(std::filesystem::path path, int64_t kept_bytes = kKeptBytes)
      : path_(std::move(path)), kept_bytes_(kept_bytes) {}
  LogFileTail(LogFileTail&& other) noexcept;
  LogFileTail& operator=(LogFileTail&&) = delete;
  ~LogFileTail();

  /// Calls `on_line` for each line that has become complete since the last call; at most about `most_bytes` are read.
  /// True if there may be more. A file that does not exist yet has no lines.
  bool ReadLines(size_t most_bytes, const std::function<void(std::string_view)>& on_line);

  /// The same for a last line without an end.
  void ReadUnfinishedLine(const std::function<void(std::string_view)>& on_line);

 private:
  bool ReadSome(size_t most_bytes, const std::function<void(std::string_view)>& on_line);
  void GiveBackOldBlocks();

  const std::filesystem::path path_;
  const int64_t kept_bytes_;
  int fd_ = -1;
  int64_t read_bytes_ = 0;
  /// Blocks before this were given back.
  int64_t given_back_ = 0;
  std::string unfinished_;
};

}  // namespace regroup
