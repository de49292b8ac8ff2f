// Reads complete lines from a file that another process appends to. Not thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace regroup {

class LogFileTail {
 public:
  explicit LogFileTail(std::filesystem::path path) : path_(std::move(path)) {}
  LogFileTail(LogFileTail&& other) noexcept;
  LogFileTail& operator=(LogFileTail&&) = delete;
  ~LogFileTail();

  /// Calls `on_line` for each line that has become complete since the last call; at most about `most_bytes` are read.
  /// True if there may be more. A file that does not exist yet has no lines.
  bool ReadLines(size_t most_bytes, const std::function<void(std::string_view)>& on_line);

  /// The same for a last line without an end.
  void ReadUnfinishedLine(const std::function<void(std::string_view)>& on_line);

 private:
  const std::filesystem::path path_;
  int fd_ = -1;
  std::string unfinished_;
};

}  // namespace regroup
