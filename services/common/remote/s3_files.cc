// Objects of a bucket, listed by prefix (ListObjectsV2).
#include <fmt/format.h>
#include <tinyxml2.h>

#include "absl/strings/numbers.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/remote_hosts.h"
#include "services/common/remote/s3_request.h"

namespace regroup {
namespace {

/// Pages of one listing; a page has up to 1,000 objects.
constexpr int kMostPages = 10'000;

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

}  // namespace

absl::StatusOr<std::vector<RemoteFile>> ListObjects(const Address& address, const std::string& prefix,
                                                    const ListingCall& call) {
  std::vector<RemoteFile> objects;
  S3Call list{.bucket = address.place, .query = {{"list-type", "2"}, {"prefix", prefix}}};
  for (int page_number = 0;; ++page_number) {
    if (page_number == kMostPages) return CheckCount(kMostFiles + 1, address);
    REGROUP_ASSIGN_OR_RETURN(
        const HttpResponse response,
        SendPatiently([&] { return MakeS3Request(list, call.settings, std::time(nullptr)); }, address.text, call));
    REGROUP_ASSIGN_OR_RETURN(Page page, ParsePage(response.body, HostOf(response.url)));
    for (RemoteFile& object : page.objects) {
      object.name = object.locator;
      if (call.keeps(object.name)) objects.push_back(std::move(object));
    }
    REGROUP_RETURN_IF_ERROR(CheckCount(objects.size(), address));
    if (page.next.empty()) return objects;
    list.query["continuation-token"] = page.next;
  }
}

absl::StatusOr<RemoteListing> ListBucket(const Address& address, const ListingCall& call) {
  const size_t pattern = address.path.find_first_of("*?[");
  RemoteListing listing;
  if (pattern != std::string::npos) {
    REGROUP_ASSIGN_OR_RETURN(listing.files, ListObjects(address, address.path.substr(0, pattern), call));
    return listing;
  }
  // Keys come in order, so that an object of exactly this name is the first of its prefix.
  const S3Call first{.bucket = address.place,
                     .query = {{"list-type", "2"}, {"max-keys", "1"}, {"prefix", address.path}}};
  REGROUP_ASSIGN_OR_RETURN(
      const HttpResponse response,
      SendPatiently([&] { return MakeS3Request(first, call.settings, std::time(nullptr)); }, address.text, call));
  REGROUP_ASSIGN_OR_RETURN(Page page, ParsePage(response.body, HostOf(response.url)));
  if (!page.objects.empty() && page.objects.front().locator == address.path) {
    page.objects.front().name = address.path;
    listing.files.push_back(std::move(page.objects.front()));
    return listing;
  }
  REGROUP_ASSIGN_OR_RETURN(listing.files, ListObjects(address, address.path + "/", call));
  return listing;
}

HttpRequest MakeBucketRead(const Address& address, const RemoteFile& file, uint64_t offset,
                           const RemoteSettings& settings) {
  S3Call call{.bucket = address.place, .key = file.locator};
  if (!file.entity_tag.empty()) call.headers["if-match"] = file.entity_tag;
  if (offset > 0) call.headers["range"] = fmt::format("bytes={}-", offset);
  return MakeS3Request(call, settings, std::time(nullptr));
}

}  // namespace regroup
