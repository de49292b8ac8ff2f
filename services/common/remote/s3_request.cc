#include "services/common/remote/s3_request.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "absl/strings/escaping.h"
#include "services/common/base/hmac.h"
#include "services/common/base/sha256.h"

namespace regroup {
namespace {

constexpr char kAlgorithm[] = "AWS4-HMAC-SHA256";

std::string QueryOf(const S3Call& call) {
  std::string query;
  for (const auto& [name, value] : call.query) {
    query +=
        fmt::format("{}{}={}", query.empty() ? "" : "&", PercentEncoded(name, false), PercentEncoded(value, false));
  }
  return query;
}

struct Place {
  std::string endpoint;
  /// Percent-encoded, with a slash at its start.
  std::string path;
};

Place PlaceOf(const S3Call& call, const std::string& region, const RemoteSettings& settings) {
  const std::string key = PercentEncoded(call.key, true);
  if (!settings.s3_endpoint.empty()) return {settings.s3_endpoint, fmt::format("/{}/{}", call.bucket, key)};
  const std::string host = fmt::format("s3.{}.amazonaws.com", region);
  if (call.bucket.find('.') != std::string::npos) return {"https://" + host, fmt::format("/{}/{}", call.bucket, key)};
  return {fmt::format("https://{}.{}", call.bucket, host), "/" + key};
}

/// The header Host as curl sends it: with a port that is not the scheme's own.
std::string HostHeader(std::string_view endpoint) { return std::string(endpoint.substr(endpoint.find("://") + 3)); }

/// Adds the headers of a signature over `payload`, the digest of the body.
void Sign(const std::string& path, const std::string& query, const AwsCredentials& credentials,
          const std::string& region, std::time_t now, const std::string& payload, HttpRequest& request) {
  const std::string time = fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(now));
  const std::string day = time.substr(0, time.find('T'));

  request.headers["x-amz-date"] = time;
  request.headers["x-amz-content-sha256"] = payload;
  if (!credentials.session_token.empty()) request.headers["x-amz-security-token"] = credentials.session_token;

  std::string headers, names;
  for (const auto& [name, value] : request.headers) {
    headers += fmt::format("{}:{}\n", name, value);
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string canonical =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, path, query, headers, names, payload);
  const std::string scope = fmt::format("{}/{}/s3/aws4_request", day, region);
  const std::string to_sign = fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time, scope, Sha256Of(canonical));
  std::string key = HmacSha256("AWS4" + credentials.secret, day);
  for (const std::string_view part :
       {std::string_view(region), std::string_view("s3"), std::string_view("aws4_request")}) {
    key = HmacSha256(key, part);
  }
  request.headers["authorization"] =
      fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm, credentials.key_id, scope, names,
                  absl::BytesToHexString(HmacSha256(key, to_sign)));
}

}  // namespace

HttpRequest MakeS3Request(const S3Call& call, const RemoteSettings& settings, std::time_t now) {
  const std::string region = settings.regions->RegionOf(call.bucket, settings.s3_region);
  const Place place = PlaceOf(call, region, settings);
  const std::string query = QueryOf(call);
  HttpRequest request{.method = call.method,
                      .url = fmt::format("{}{}{}{}", place.endpoint, place.path, query.empty() ? "" : "?", query),
                      .headers = call.headers,
                      .body = call.body,
                      .file = call.file,
                      .bucket = call.bucket,
                      .region = region};
  request.headers["host"] = HostHeader(place.endpoint);
  const std::string payload = call.file ? call.file_sha256 : Sha256Of(call.body);
  const std::optional<AwsCredentials> aws = settings.credentials->Get().aws;
  if (aws) Sign(place.path, query, *aws, region, now, payload, request);
  return request;
}

}  // namespace regroup
