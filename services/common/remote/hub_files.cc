// Repositories of a Hugging Face hub: one call lists all files of a revision with their digests.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/remote_hosts.h"

namespace regroup {
namespace {

using nlohmann::json;

void AddToken(const RemoteSettings& settings, HttpRequest& request) {
  if (!settings.hub_token.empty()) request.headers["authorization"] = "Bearer " + settings.hub_token;
}

RemoteFile FileOf(const json& entry, const std::string& resolve) {
  RemoteFile file{.name = entry.at("rfilename")};
  file.locator = resolve + PercentEncoded(file.name, true);
  entry.at("size").get_to(file.bytes);
  if (entry.contains("lfs") && entry.at("lfs").is_object()) {
    entry.at("lfs").at("sha256").get_to(file.sha256);
  } else {
    entry.at("blobId").get_to(file.git_sha1);
  }
  return file;
}

RemoteListing ListingOf(const json& answer, const std::string& place, const RemoteSettings& settings) {
  RemoteListing listing{.commit = answer.at("sha")};
  const std::string resolve = fmt::format("{}/{}/resolve/{}/", settings.hub_endpoint, place, listing.commit);
  for (const json& entry : answer.at("siblings")) listing.files.push_back(FileOf(entry, resolve));
  return listing;
}

}  // namespace

absl::StatusOr<RemoteListing> ListHub(const Address& address, const RemoteSettings& settings, HttpClient& client) {
  const bool is_data_set = address.place.starts_with("datasets/");
  HttpRequest request{.url = fmt::format("{}/api/{}{}/revision/{}?blobs=true", settings.hub_endpoint,
                                         is_data_set ? "" : "models/", address.place,
                                         PercentEncoded(address.revision, false))};
  AddToken(settings, request);
  REGROUP_ASSIGN_OR_RETURN(const HttpResponse response, SendPatiently(request, address.text, client));
  const absl::StatusOr<json> answer = ParseJson(response.body);
  try {
    if (answer.ok()) return ListingOf(*answer, address.place, settings);
  } catch (const json::exception&) {
    // Reported below.
  }
  return absl::UnavailableError(
      fmt::format("{}: {} does not answer as a hub does", address.text, HostOf(settings.hub_endpoint)));
}

HttpRequest MakeHubRead(const RemoteFile& file, const RemoteSettings& settings) {
  HttpRequest request{.url = file.locator};
  AddToken(settings, request);
  return request;
}

}  // namespace regroup
