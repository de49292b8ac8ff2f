#include "services/common/remote/bucket_regions.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "services/common/base/logging.h"

namespace regroup {
namespace {

/// Returns true for a name that is safe as a part of the name of Amazon's host.
bool IsRegion(const std::string& name) {
  constexpr size_t longest = 32;
  return !name.empty() && name.size() <= longest && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  });
}

std::string RegionIn(const HttpResponse& response) {
  const auto header = response.headers.find("x-amz-bucket-region");
  return header != response.headers.end() ? header->second : ErrorElement(response, "Region");
}

}  // namespace

std::string BucketRegions::RegionOf(const std::string& bucket, const std::string& configured) const {
  const std::lock_guard lock(mutex_);
  const auto learned = regions_.find(bucket);
  return learned == regions_.end() ? configured : learned->second;
}

bool BucketRegions::LearnFrom(const HttpRequest& request, const HttpResponse& response) {
  if (response.status != 301 && response.status != 307 && response.status != 400) return false;
  if (request.bucket.empty()) return false;
  const std::lock_guard lock(mutex_);
  const auto learned = regions_.find(request.bucket);
  if (learned != regions_.end()) return learned->second != request.region;
  const std::string region = RegionIn(response);
  if (!IsRegion(region) || region == request.region) return false;
  regions_[request.bucket] = region;
  LogInfo("a bucket lies in another region than the configured one", {{"bucket", request.bucket}, {"region", region}});
  return true;
}

}  // namespace regroup
