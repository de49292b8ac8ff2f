// Copies a finished folder to a bucket, so that a reader sees all of it or nothing.
//
// A bucket has no rename. Every file is sent as a multipart upload, which is invisible until it is completed; once all
// parts of all files are there, the uploads are completed, and the object kMarker is written last. A reader that waits
// for the marker never sees a part of a result. What was sent is noted in a journal, so that a later call goes on where
// an earlier one stopped.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "services/common/job_file/address.h"
#include "services/common/remote/download.h"

namespace regroup {

/// Written last, below the address: JSON with the job's name, the id of the upload, and the size and SHA-256 of every
/// file.
inline constexpr char kMarker[] = "regroup/complete.json";

struct UploadOptions {
  /// Named by the marker.
  std::string job;
  /// A file in an existing folder.
  std::filesystem::path journal;
  /// Bytes of a part; the smallest that servers accept is 5 MiB. Larger for files of more than 10,000 parts.
  uint64_t part_bytes = uint64_t{32} << 20;
  size_t threads = 4;
};

/// Returns ALREADY_EXISTS if there is an object below the address: nothing is replaced. For a check before work begins.
absl::Status CheckIsFree(const Address& target, const RemoteSettings& settings, HttpClient& client, const Tick& tick);

/// The folder must have regroup/SHA256SUMS. ALREADY_EXISTS if the address holds anything that the upload of this
/// journal did not make: this is looked at before the first request and before the first object appears, and is a
/// condition of the requests by which objects appear. DATA_LOSS if a file is not as its checksum says or changed since
/// it was sent; UNAVAILABLE after kTries failures in a row, or if another program writes the same object at that
/// moment; otherwise errors of HttpClient, StatusOf and the file system.
absl::Status Upload(const std::filesystem::path& folder, const Address& target, const RemoteSettings& settings,
                    const UploadOptions& options, const CountBytes& count);

}  // namespace regroup
