#include "services/common/remote/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

HttpResponse Answer(int status, std::map<std::string, std::string> headers = {}) {
  return {.status = status, .headers = std::move(headers), .body = "", .url = "https://host/x?secret"};
}

TEST(HttpClient, TurnsStatusesIntoErrorsThatSayWhetherToTryAgain) {
  EXPECT_TRUE(StatusOf(Answer(200), "x").ok());
  EXPECT_TRUE(StatusOf(Answer(206), "x").ok());
  for (const int status : {408, 429, 500, 502, 503, 504}) {
    EXPECT_TRUE(absl::IsUnavailable(StatusOf(Answer(status), "x"))) << status;
  }
  for (const int status : {401, 403}) EXPECT_TRUE(absl::IsPermissionDenied(StatusOf(Answer(status), "x"))) << status;
  EXPECT_TRUE(absl::IsNotFound(StatusOf(Answer(404), "x")));
  EXPECT_TRUE(absl::IsAborted(StatusOf(Answer(412), "x")));
  EXPECT_TRUE(absl::IsInvalidArgument(StatusOf(Answer(400), "x")));
  HttpResponse refused = Answer(403);
  refused.body =
      "<Error><Code>ExpiredToken</Code><Message>The token has expired</Message><Token-0>secret</Token-0></Error>";
  EXPECT_EQ(StatusOf(refused, "s3://a/b").message(),
            "s3://a/b: host answers with status 403: ExpiredToken, The token has expired");
  refused.status = 400;
  EXPECT_TRUE(absl::IsPermissionDenied(StatusOf(refused, "x")));
  refused.body = "a page that repeats a secret";
  EXPECT_EQ(StatusOf(refused, "hf://org/model").message(), "hf://org/model: host answers with status 400");
}

TEST(HttpClient, ReadsForHowLongToWait) {
  EXPECT_EQ(RetryAfterSeconds(Answer(429)), std::nullopt);
  EXPECT_EQ(RetryAfterSeconds(Answer(429, {{"retry-after", "7"}})), 7);
  EXPECT_EQ(RetryAfterSeconds(Answer(429, {{"retry-after", "99999999"}})), 3600);
  EXPECT_EQ(RetryAfterSeconds(Answer(429, {{"retry-after", "-5"}})), 0);
  EXPECT_EQ(RetryAfterSeconds(Answer(429, {{"retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"}})), 0);
  EXPECT_EQ(RetryAfterSeconds(Answer(429, {{"retry-after", "soon"}})), std::nullopt);
}

TEST(HttpClient, HidesQueriesAndEncodesWhatIsNotPlain) {
  EXPECT_EQ(WithoutQuery("https://host/a?secret=1#b"), "https://host/a");
  EXPECT_EQ(HostOf("https://Host.Example:8443/a"), "host.example");
  EXPECT_EQ(PercentEncoded("a/b c+ü~", true), "a/b%20c%2B%C3%BC~");
  EXPECT_EQ(PercentEncoded("a/b", false), "a%2Fb");
}

TEST(HttpClient, RefusesPrivateAddressesPlainHttpAndLineBreaks) {
  HttpClient client({});
  EXPECT_TRUE(absl::IsPermissionDenied(client.Send({.url = "https://127.0.0.1:1/x"}).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(client.Send({.url = "https://localhost:1/x"}).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(client.Send({.url = "https://[::ffff:10.0.0.1]/x"}).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(client.Send({.url = "http://8.8.8.8/x"}).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(client.Send({.url = "file:///etc/passwd"}).status()));
  HttpClient trusting({.trusted_origins = {"http://127.0.0.1:1"}});
  const auto broken = trusting.Send({.url = "http://127.0.0.1:1/x", .headers = {{"authorization", "a\r\nhost: b"}}});
  EXPECT_TRUE(absl::IsInvalidArgument(broken.status())) << broken.status();
  EXPECT_TRUE(absl::IsUnavailable(trusting.Send({.url = "http://127.0.0.1:1/x?secret"}).status()));
  EXPECT_THAT(std::string(trusting.Send({.url = "http://127.0.0.1:1/x?secret"}).status().message()),
              testing::Not(testing::HasSubstr("secret")));
}

}  // namespace
}  // namespace regroup
