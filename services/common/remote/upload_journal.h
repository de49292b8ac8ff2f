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

/// A part that the bucket has.
struct SentPart {
  /// The entity tag.
  std::string tag;
  std::string sha256;
};

/// The state of one file.
struct SentFile {
  /// The multipart upload; empty before it was made.
  std::string upload;
  uint64_t part_bytes = 0;
  /// The parts that the bucket has, by number from 1.
  std::map<int, SentPart> parts;
  /// True once the upload was completed: the object exists.
  bool is_complete = false;
};

class UploadJournal {
 public:
  /// Reads the file. Without one, nothing was sent, and a journal with a new id is written. DATA_LOSS if it is damaged.
  static absl::StatusOr<UploadJournal> Open(std::filesystem::path path);
  UploadJournal(UploadJournal&& other) noexcept
      : path_(std::move(other.path_)),
        id_(std::move(other.id_)),
        files_(std::move(other.files_)),
        is_completing_(other.is_completing_) {}

  /// Random digits that tell this upload from all others.
  const std::string& id() const { return id_; }

  /// Returns the state of a file; that of nothing sent for a new one.
  SentFile Find(const std::string& file) const;
  /// Notes the state, durably.
  absl::Status Put(const std::string& file, const SentFile& sent);
  absl::Status AddPart(const std::string& file, int part, const SentPart& sent);

  /// True once the first object may exist: objects at the address are then this job's.
  bool is_completing() const { return is_completing_; }
  absl::Status NoteCompleting();

 private:
  explicit UploadJournal(std::filesystem::path path) : path_(std::move(path)) {}
  absl::Status Write() const;

  std::filesystem::path path_;
  std::string id_;
  mutable std::mutex mutex_;
  std::map<std::string, SentFile> files_;
  bool is_completing_ = false;
};

}  // namespace regroup
