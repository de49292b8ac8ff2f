// The container of an archive of torch.save: a zip file whose members are not compressed. The directory is read by
// libtorch's own reader, as torch.load does, so that both find the same members. libtorch never unpacks anything here:
// an archive with a compressed member is refused before.
//
// One thread at a time. What it returns points into the mapping, which must outlive it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace caffe2::serialize {
class PyTorchStreamReader;
}  // namespace caffe2::serialize

namespace regroup {

class TorchArchive {
 public:
  /// Reads the directory of the archive. `file` is its name for errors. DATA_LOSS if there is none, or if the archive
  /// is a program of TorchScript, or big-endian.
  static absl::StatusOr<TorchArchive> Open(std::string_view archive, std::string_view file);

  TorchArchive(TorchArchive&&) noexcept;
  TorchArchive& operator=(TorchArchive&&) noexcept;
  ~TorchArchive();

  /// Returns the bytes of a member. DATA_LOSS if it does not exist, is compressed, or lies beyond the archive.
  absl::StatusOr<std::string_view> Member(const std::string& name);
  /// Reads a member and compares it with its checksum in the directory.
  absl::Status CheckMember(const std::string& name);

 private:
  TorchArchive(std::string_view archive, std::string_view file);
  absl::Status CheckSetting(const std::string& name);
  absl::StatusOr<std::string_view> Locate(const std::string& name);

  std::string_view archive_;
  std::string file_;
  std::unique_ptr<caffe2::serialize::PyTorchStreamReader> reader_;
};

}  // namespace regroup
