// address_tool: lets tests list, fetch and upload without a job, and shows the signature of a request.
//
//   address_tool fetch ADDRESS FOLDER CACHE [checkpoint]
//   address_tool upload FOLDER ADDRESS JOURNAL PART_BYTES
//   address_tool sign METHOD BUCKET KEY TIME [QUERY_NAME QUERY_VALUE]...
//
// The environment holds the settings, as for a trainer. Errors go to standard error, the code of the status in front.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/blob_cache.h"
#include "services/common/remote/s3_request.h"
#include "services/common/remote/upload.h"

namespace regroup {
namespace {

using Words = std::vector<std::string>;

void IgnoreCount(int64_t) {}

absl::Status Fetch(const Words& words, const RemoteSettings& settings) {
  REGROUP_ASSIGN_OR_RETURN(const Address address, ParseAddress(words.at(1)));
  const Wanted wanted = words.size() > 4 ? Wanted::kCheckpoint : Wanted::kAllFiles;
  HttpClient client(settings.HttpRulesOf(address.kind));
  REGROUP_ASSIGN_OR_RETURN(const RemoteListing listing, ListRemoteFiles(address, wanted, settings, client, [] {}));
  const BlobCache cache(words.at(3), "tool");
  for (const RemoteFile& file : listing.files) {
    const std::filesystem::path target = std::filesystem::path(words.at(2)) / file.name;
    REGROUP_RETURN_IF_ERROR(cache.Provide(address, file, settings, client, IgnoreCount, target));
    fmt::print("{} {}\n", file.bytes, file.name);
  }
  cache.Evict({.bytes = settings.rules.cache_bytes});
  return absl::OkStatus();
}

absl::Status Send(const Words& words, const RemoteSettings& settings) {
  REGROUP_ASSIGN_OR_RETURN(const Address address, ParseAddress(words.at(2)));
  return Upload(words.at(1), address, settings,
                {.job = "tool", .journal = words.at(3), .part_bytes = std::stoull(words.at(4)), .threads = 1},
                IgnoreCount);
}

absl::Status Sign(const Words& words, const RemoteSettings& settings) {
  S3Call call{.method = words.at(1), .bucket = words.at(2), .key = words.at(3)};
  for (size_t i = 5; i + 1 < words.size(); i += 2) call.query[words[i]] = words[i + 1];
  const HttpRequest request = MakeS3Request(call, settings, std::stoll(words.at(4)));
  fmt::print("{}\n", request.url);
  for (const auto& [name, value] : request.headers) fmt::print("{}: {}\n", name, value);
  return absl::OkStatus();
}

absl::Status Run(const Words& words) {
  REGROUP_ASSIGN_OR_RETURN(const RemoteSettings settings, ReadRemoteSettings());
  if (words.at(0) == "fetch") return Fetch(words, settings);
  if (words.at(0) == "upload") return Send(words, settings);
  if (words.at(0) == "sign") return Sign(words, settings);
  return absl::InvalidArgumentError("fetch, upload or sign");
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  regroup::InitLogging("address_tool", regroup::LogFormat::kJson);
  const absl::Status status = regroup::Run({argv + 1, argv + argc});
  if (status.ok()) return 0;
  fmt::print(stderr, "{}\n", status.ToString());
  return 1;
}
