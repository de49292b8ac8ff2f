// Journal of what has been sent of a folder to a bucket. It is a file that is replaced after every change. Thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// The state of one file.
struct SentFile {
  /// The multipart upload; empty before it was made.
  std::string upload;
  uint64_t part_bytes = 0;
  /// Entity tags of the parts that the bucket has, by number from 1.
  std::map<int, std::string> parts;
  /// True once the upload was completed: the object exists.
  bool is_complete = false;
};

class UploadJournal {
 public:
  /// Reads the file; without one, nothing was sent. DATA_LOSS if it is damaged.
  static absl::StatusOr<UploadJournal> Open(std::filesystem::path path);
  UploadJournal(UploadJournal&& other) noexcept
      : path_(std::move(other.path_)), files_(std::move(other.files_)), is_completing_(other.is_completing_) {}

  /// Returns the state of a file; that of nothing sent for a new one.
  SentFile Find(const std::string& file) const;
  /// Notes the state, durably.
  absl::Status Put(const std::string& file, const SentFile& sent);
  absl::Status AddPart(const std::string& file, int part, const std::string& tag);

  /// True once the first object may exist: objects at the address are then this job's.
  bool is_completing() const { return is_completing_; }
  absl::Status NoteCompleting();

 private:
  explicit UploadJournal(std::filesystem::path path) : path_(std::move(path)) {}
  absl::Status Write() const;

  std::filesystem::path path_;
  mutable std::mutex mutex_;
  std::map<std::string, SentFile> files_;
  bool is_completing_ = false;
};

}  // namespace regroup
