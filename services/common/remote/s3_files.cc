// Objects of a bucket, listed by prefix (ListObjectsV2).
#include <fmt/format.h>
#include <tinyxml2.h>

#include "absl/strings/numbers.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/remote_hosts.h"
#include "services/common/remote/s3_request.h"

namespace regroup {
namespace {

std::string TextOf(const tinyxml2::XMLElement& parent, const char* name) {
  const tinyxml2::XMLElement* const element = parent.FirstChildElement(name);
  const char* const text = element == nullptr ? nullptr : element->GetText();
  return text == nullptr ? "" : text;
}

struct Page {
  std::vector<RemoteFile> objects;
  /// Empty for the last page.
  std::string next;
};

absl::StatusOr<Page> ParsePage(const std::string& xml, const std::string& host) {
  tinyxml2::XMLDocument document;
  const bool is_xml = document.Parse(xml.data(), xml.size()) == tinyxml2::XML_SUCCESS;
  const tinyxml2::XMLElement* const root = is_xml ? document.FirstChildElement("ListBucketResult") : nullptr;
  if (root == nullptr) return absl::UnavailableError(fmt::format("{} does not answer as S3 does", host));
  Page page;
  for (const auto* object = root->FirstChildElement("Contents"); object != nullptr;
       object = object->NextSiblingElement("Contents")) {
    RemoteFile file{.locator = TextOf(*object, "Key"), .entity_tag = TextOf(*object, "ETag")};
    if (!absl::SimpleAtoi(TextOf(*object, "Size"), &file.bytes)) {
      return absl::UnavailableError(fmt::format("{} lists an object without a size", host));
    }
    // Consoles store an empty object for a folder.
    if (!file.locator.ends_with('/')) page.objects.push_back(std::move(file));
  }
  if (TextOf(*root, "IsTruncated") == "true") page.next = TextOf(*root, "NextContinuationToken");
  return page;
}

/// Returns what the keys of the address's objects begin with: up to a pattern, if there is one.
std::string PrefixOf(const Address& address) { return address.path.substr(0, address.path.find_first_of("*?[")); }

}  // namespace

absl::StatusOr<RemoteListing> ListBucket(const Address& address, const RemoteSettings& settings, HttpClient& client) {
  RemoteListing listing;
  S3Call call{.bucket = address.place, .query = {{"list-type", "2"}, {"prefix", PrefixOf(address)}}};
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const HttpResponse response,
                             SendPatiently(MakeS3Request(call, settings, std::time(nullptr)), address.text, client));
    REGROUP_ASSIGN_OR_RETURN(Page page, ParsePage(response.body, HostOf(response.url)));
    for (RemoteFile& object : page.objects) {
      object.name = object.locator;
      listing.files.push_back(std::move(object));
    }
    if (page.next.empty() || listing.files.size() > kMostFiles) return listing;
    call.query["continuation-token"] = page.next;
  }
}

HttpRequest MakeBucketRead(const Address& address, const RemoteFile& file, uint64_t offset,
                           const RemoteSettings& settings) {
  S3Call call{.bucket = address.place, .key = file.locator};
  if (!file.entity_tag.empty()) call.headers["if-match"] = file.entity_tag;
  if (offset > 0) call.headers["range"] = fmt::format("bytes={}-", offset);
  return MakeS3Request(call, settings, std::time(nullptr));
}

}  // namespace regroup
