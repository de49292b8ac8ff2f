// Lists the files that an address names, and makes the requests that read them.
//
// Errors are those of HttpClient and StatusOf, with the address in front; NOT_FOUND if it names nothing;
// INVALID_ARGUMENT for names that cannot be those of files here, and for more than kMostFiles.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/job_file/address.h"
#include "services/common/remote/http_client.h"
#include "services/common/remote/patience.h"
#include "services/common/remote/remote_settings.h"

namespace regroup {

inline constexpr size_t kMostFiles = 10'000;

struct RemoteFile {
  /// Path below the folder in which the address's files lie (see LocalName, whose last part begins it unless that is a
  /// pattern).
  std::string name;
  uint64_t bytes = 0;
  /// The URL, or for a bucket the key.
  std::string locator;
  /// The entity tag, with its quotation marks; empty if the server gives none.
  std::string entity_tag;
  /// Digests of the content that the hub promises; empty for none. git_sha1 is that of a Git blob.
  std::string sha256;
  std::string git_sha1;
};

struct RemoteListing {
  std::vector<RemoteFile> files;
  /// The commit of a hub's repository; empty for others.
  std::string commit;
};

/// Names the files of an address that are to be read.
enum class Wanted {
  kAllFiles,
  /// Only what a checkpoint in the format of Transformers needs, without the weights of other programs.
  kCheckpoint,
};

/// Calls `tick` while it waits.
absl::StatusOr<RemoteListing> ListRemoteFiles(const Address& address, Wanted wanted, const RemoteSettings& settings,
                                              HttpClient& client, const Tick& tick);

/// Returns the request for the file's bytes from `offset` on, and only those of the listed version.
HttpRequest MakeReadRequest(const Address& address, const RemoteFile& file, uint64_t offset,
                            const RemoteSettings& settings);

/// Returns the files of a repository or a folder that a checkpoint needs; names are relative to it.
std::vector<RemoteFile> OfCheckpoint(const std::vector<RemoteFile>& files);

}  // namespace regroup
