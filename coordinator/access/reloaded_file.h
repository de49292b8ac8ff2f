// The parsed content of a file that is read again when it changes. A file that cannot be read has no value: what it
// said before may have been withdrawn.
//
// Not thread-safe.
#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "services/common/base/file_version.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"

namespace regroup {

template <typename Value>
class ReloadedFile {
 public:
  /// `parse` gets the content.
  using Parse = std::function<absl::StatusOr<Value>(const std::string&)>;
  using Result = absl::StatusOr<std::shared_ptr<const Value>>;

  ReloadedFile(std::filesystem::path path, uint64_t most_bytes, Parse parse)
      : path_(std::move(path)), most_bytes_(most_bytes), parse_(std::move(parse)) {}

  /// Reads the file if it has changed. Returns true if the value, or the reason why there is none, may have changed.
  bool Reload() {
    struct stat now {};
    if (stat(path_.c_str(), &now) != 0) {
      const absl::Status why = ErrnoStatus(errno, "read", path_);
      seen_ = {};
      if (why == value_.status()) return false;
      value_ = why;
      return true;
    }
    if (FileVersion(now) == seen_) return false;
    seen_ = FileVersion(now);
    value_ = Read();
    return true;
  }

  const Result& value() const { return value_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  Result Read() const {
    // A FIFO would keep every call waiting.
    absl::StatusOr<std::string> content = ReadInput(path_, most_bytes_);
    if (!content.ok()) return content.status();
    absl::StatusOr<Value> parsed = parse_(*content);
    if (!parsed.ok()) return parsed.status();
    return std::make_shared<const Value>(*std::move(parsed));
  }

  std::filesystem::path path_;
  uint64_t most_bytes_;
  Parse parse_;
  FileVersion seen_;
  Result value_ = absl::UnavailableError("not read yet");
};

}  // namespace regroup
