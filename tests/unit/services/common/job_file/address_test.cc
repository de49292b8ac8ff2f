#include "services/common/job_file/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

namespace regroup {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::tuple<std::string, std::string, std::string> Parts(std::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  EXPECT_TRUE(address.ok()) << text << ": " << address.status();
  return address.ok() ? std::tuple(address->place, address->revision, address->path)
                      : std::tuple<std::string, std::string, std::string>();
}

std::string Refusal(std::string_view text) { return std::string(ParseAddress(text).status().message()); }

TEST(Address, NamesARepositoryABucketOrAHost) {
  EXPECT_EQ(Parts("hf://org/name"), std::tuple("org/name", "main", ""));
  EXPECT_EQ(Parts("hf://org/name@v1.0/"), std::tuple("org/name", "v1.0", ""));
  EXPECT_EQ(Parts("hf://org/name@refs/pr/1"), std::tuple("org/name", "refs/pr/1", ""));
  EXPECT_EQ(Parts("hf://org/name@refs/convert/parquet/a/b"), std::tuple("org/name", "refs/convert/parquet", "a/b"));
  EXPECT_EQ(Parts("hf://org/name/sub/a.jsonl"), std::tuple("org/name", "main", "sub/a.jsonl"));
  EXPECT_EQ(Parts("hf://datasets/org/name@main/*.jsonl"), std::tuple("datasets/org/name", "main", "*.jsonl"));
  EXPECT_EQ(Parts("s3://my-bucket/a/b/"), std::tuple("my-bucket", "", "a/b"));
  EXPECT_EQ(Parts("https://host:8443/a/b.jsonl"), std::tuple("https://host:8443", "", "a/b.jsonl"));
}

TEST(Address, IsToldFromAPath) {
  EXPECT_TRUE(IsAddress("s3://bucket/x"));
  EXPECT_TRUE(IsAddress("gs://bucket/x"));
  EXPECT_FALSE(IsAddress("/models/s3://bucket"));
  EXPECT_FALSE(IsAddress("models/llama"));
  EXPECT_FALSE(IsAddress("./s3://x"));
}

TEST(Address, IsRefusedIfItCouldBeReadInTwoWaysOrHoldsASecret) {
  for (const char* text : {"hf://",
                           "hf://org",
                           "hf://datasets/org",
                           "hf://org/@main",
                           "hf://org/name@",
                           "hf://o@1/name",
                           "s3://",
                           "s3://bucket",
                           "s3://Bucket/x",
                           "s3://ab/x",
                           "s3://bucket//x",
                           "s3://bucket/../x",
                           "s3://bucket/./x",
                           "s3://bucket/a%2e%2e/x",
                           "s3://bucket/a b",
                           "s3://bucket/a\\b",
                           "s3://bucket/*/x",
                           "s3://bucket/a\nb",
                           "https://host",
                           "https:///x",
                           "https://u:p@host/x",
                           "https://host/x?a=b",
                           "https://host/x#a",
                           "https://host/*.jsonl",
                           "http://host/x",
                           "file:///x"}) {
    EXPECT_THAT(Refusal(text), Not(IsEmpty())) << text;
  }
  EXPECT_THAT(Refusal("https://user:pass@host/x"), Not(HasSubstr("pass")));
  EXPECT_THAT(Refusal("https://host/x?signature=abc"), Not(HasSubstr("abc")));
  EXPECT_THAT(Refusal(std::string("s3://bucket/") + std::string(3000, 'a')), HasSubstr("at most 2048"));
}

TEST(Address, HasAFolderOfItsOwnThatKeepsItsLastPart) {
  const std::string folder = LocalName(*ParseAddress("s3://bucket/a/texts"));
  const std::string pattern = LocalName(*ParseAddress("s3://bucket/a/*.jsonl"));
  const std::string model = LocalName(*ParseAddress("hf://org/name@v1"));
  EXPECT_THAT(folder, testing::MatchesRegex("[0-9a-f]{16}/texts"));
  EXPECT_THAT(pattern, testing::MatchesRegex("[0-9a-f]{16}/[*].jsonl"));
  EXPECT_THAT(model, testing::MatchesRegex("[0-9a-f]{16}/name"));
  EXPECT_NE(model, LocalName(*ParseAddress("hf://org/name@v2")));
  EXPECT_EQ(folder, LocalName(*ParseAddress("s3://bucket/a/texts/")));
}

TEST(Address, LiesBelowAPrefixThatEndsWhereAPartEnds) {
  EXPECT_TRUE(IsBelowOneOf("hf://org/name@v1", {"hf://"}));
  EXPECT_TRUE(IsBelowOneOf("hf://org/name@v1", {"s3://", "hf://org/name"}));
  EXPECT_TRUE(IsBelowOneOf("s3://bucket/a/b", {"s3://bucket/a"}));
  EXPECT_FALSE(IsBelowOneOf("s3://bucket/abc", {"s3://bucket/a"}));
  EXPECT_FALSE(IsBelowOneOf("s3://bucket/team@x/y", {"s3://bucket/team"}));
  EXPECT_FALSE(IsBelowOneOf("https://host/a@b", {"https://host/a"}));
  EXPECT_FALSE(IsBelowOneOf("s3://bucket-of-others/x", {"s3://bucket"}));
  EXPECT_FALSE(IsBelowOneOf("https://host.evil/x", {"https://host"}));
  EXPECT_FALSE(IsBelowOneOf("s3://bucket/x", {}));
}

TEST(Address, PrefixIsCheckedWhenAnOperatorWritesIt) {
  for (const char* prefix : {"hf://", "hf://org/", "hf://org/name", "s3://bucket/", "https://host"}) {
    EXPECT_THAT(DoubtAboutPrefix(prefix), IsEmpty()) << prefix;
  }
  for (const char* prefix : {"", "hf", "http://", "*", "s3://bucket/../", "s3://a//b", "/models"}) {
    EXPECT_THAT(DoubtAboutPrefix(prefix), Not(IsEmpty())) << prefix;
  }
}

}  // namespace
}  // namespace regroup
