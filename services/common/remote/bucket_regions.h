// The regions that servers named for buckets, when a request was signed for another one. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "services/common/remote/http_client.h"

namespace regroup {

class BucketRegions {
 public:
  /// Returns the region that was learned for the bucket, otherwise `configured`.
  std::string RegionOf(const std::string& bucket, const std::string& configured) const;

  /// Returns true if the server refused the request for its region and another one is known by now, so that the request
  /// should be made anew. Of each bucket a region is learned once.
  bool LearnFrom(const HttpRequest& request, const HttpResponse& response);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> regions_;
};

}  // namespace regroup
