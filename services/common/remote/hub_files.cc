// Repositories of a Hugging Face hub: one call finds the commit of a revision, and pages list the files of a folder
// with their digests.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/remote_hosts.h"

namespace regroup {
namespace {

using nlohmann::json;

/// Pages of one listing; a page has up to 1,000 entries.
constexpr int kMostPages = 1000;

HttpRequest RequestTo(const RemoteSettings& settings, std::string url) {
  HttpRequest request{.url = std::move(url)};
  const std::string token = settings.credentials->Get().hub_token;
  if (!token.empty()) request.headers["authorization"] = "Bearer " + token;
  return request;
}

absl::Status NotAHub(const Address& address, const RemoteSettings& settings) {
  return absl::UnavailableError(
      fmt::format("{}: {} does not answer as a hub does", address.text, HostOf(settings.hub_endpoint)));
}

/// Returns the start of the repository's calls.
std::string ApiOf(const Address& address, const RemoteSettings& settings) {
  const bool is_data_set = address.place.starts_with("datasets/");
  return fmt::format("{}/api/{}{}", settings.hub_endpoint, is_data_set ? "" : "models/", address.place);
}

absl::StatusOr<std::string> FindCommit(const Address& address, const ListingCall& call) {
  const std::string url =
      fmt::format("{}/revision/{}", ApiOf(address, call.settings), PercentEncoded(address.revision, false));
  REGROUP_ASSIGN_OR_RETURN(const HttpResponse response,
                           SendPatiently([&] { return RequestTo(call.settings, url); }, address.text, call));
  const absl::StatusOr<json> answer = ParseJson(response.body);
  try {
    if (answer.ok()) return answer->at("sha").get<std::string>();
  } catch (const json::exception&) {
    // Reported below.
  }
  return NotAHub(address, call.settings);
}

RemoteFile FileOf(const json& entry, const std::string& resolve) {
  RemoteFile file{.name = entry.at("path")};
  file.locator = resolve + PercentEncoded(file.name, true);
  entry.at("size").get_to(file.bytes);
  if (entry.contains("lfs") && entry.at("lfs").is_object()) {
    entry.at("lfs").at("oid").get_to(file.sha256);
  } else {
    entry.at("oid").get_to(file.git_sha1);
  }
  return file;
}

/// Returns the URL of the next page in a header Link (RFC 8288); empty for the last page.
std::string NextPage(const HttpResponse& response, const RemoteSettings& settings) {
  const auto link = response.headers.find("link");
  if (link == response.headers.end() || link->second.find("rel=\"next\"") == std::string::npos) return "";
  const size_t begin = link->second.find('<'), end = link->second.find('>');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  std::string url = link->second.substr(begin + 1, end - begin - 1);
  // The token goes to no other host.
  return OriginOf(url) == OriginOf(settings.hub_endpoint) ? url : "";
}

}  // namespace

absl::StatusOr<RemoteListing> ListHub(const Address& address, const ListingCall& call) {
  RemoteListing listing;
  REGROUP_ASSIGN_OR_RETURN(listing.commit, FindCommit(address, call));
  const std::string folder = address.path.substr(0, address.path.rfind('/') + 1);
  const std::string resolve =
      fmt::format("{}/{}/resolve/{}/", call.settings.hub_endpoint, address.place, listing.commit);
  std::string url = fmt::format("{}/tree/{}/{}?recursive=true", ApiOf(address, call.settings), listing.commit,
                                PercentEncoded(folder.substr(0, folder.empty() ? 0 : folder.size() - 1), true));
  for (int page = 0; !url.empty(); ++page) {
    if (page == kMostPages) return CheckCount(kMostFiles + 1, address);
    REGROUP_ASSIGN_OR_RETURN(const HttpResponse response,
                             SendPatiently([&] { return RequestTo(call.settings, url); }, address.text, call));
    const absl::StatusOr<json> answer = ParseJson(response.body);
    try {
      if (!answer.ok()) return NotAHub(address, call.settings);
      for (const json& entry : *answer) {
        if (entry.at("type") == "file" && call.keeps(entry.at("path"))) listing.files.push_back(FileOf(entry, resolve));
      }
    } catch (const json::exception&) {
      return NotAHub(address, call.settings);
    }
    REGROUP_RETURN_IF_ERROR(CheckCount(listing.files.size(), address));
    url = NextPage(response, call.settings);
  }
  return listing;
}

HttpRequest MakeHubRead(const RemoteFile& file, const RemoteSettings& settings) {
  return RequestTo(settings, file.locator);
}

}  // namespace regroup
