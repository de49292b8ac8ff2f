// Writes one file of events, which TensorBoard reads while it grows.
//
// A record is the length of a serialised Event, the checksum of the length, the event, and its checksum (TFRecord). One
// thread at a time.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/event_files/event.pb.h"

namespace regroup {

/// Returns the record with this content.
std::string FrameRecord(std::string_view content);

class EventFile {
 public:
  /// Makes the folder and the file, in place of a file of that name, and writes the version of the format. Errors:
  /// those of files.h.
  static absl::StatusOr<EventFile> Create(const std::filesystem::path& path);

  /// Appends a record and hands it to the system, without waiting for the disk. After an error the end of the file may
  /// be a part of a record, so that nothing more must be appended.
  absl::Status Append(const tensorboard::Event& event);

 private:
  EventFile(std::filesystem::path path, std::ofstream file) : path_(std::move(path)), file_(std::move(file)) {}

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace regroup
