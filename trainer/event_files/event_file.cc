#include "trainer/event_files/event_file.h"

#include <cerrno>
#include <cstdint>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/event_files/crc32c.h"

namespace regroup {
namespace {

constexpr char kVersion[] = "brain.Event:2";

void AppendLittleEndian(std::string& record, uint64_t number, int bytes) {
  for (int byte = 0; byte < bytes; ++byte) record.push_back(static_cast<char>(number >> (8 * byte)));
}

/// Returns the checksum in the form in which records hold it: a checksum of bytes that contain their own checksum would
/// be weak.
uint32_t MaskedCrc32c(std::string_view bytes) {
  const uint32_t checksum = Crc32c(bytes);
  return ((checksum >> 15) | (checksum << 17)) + 0xa282ead8;
}

}  // namespace

std::string FrameRecord(std::string_view content) {
  std::string record;
  record.reserve(content.size() + 16);
  AppendLittleEndian(record, content.size(), 8);
  AppendLittleEndian(record, MaskedCrc32c(record), 4);
  record += content;
  AppendLittleEndian(record, MaskedCrc32c(content), 4);
  return record;
}

absl::StatusOr<EventFile> EventFile::Create(const std::filesystem::path& path) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(path.parent_path()));
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file) return ErrnoStatus(errno, "create", path);
  EventFile created(path, std::move(file));
  tensorboard::Event version;
  version.set_file_version(kVersion);
  REGROUP_RETURN_IF_ERROR(created.Append(version));
  return created;
}

absl::Status EventFile::Append(const tensorboard::Event& event) {
  const std::string record = FrameRecord(event.SerializeAsString());
  file_.write(record.data(), static_cast<std::streamsize>(record.size()));
  if (!file_.flush()) return ErrnoStatus(errno, "write", path_);
  return absl::OkStatus();
}

}  // namespace regroup
