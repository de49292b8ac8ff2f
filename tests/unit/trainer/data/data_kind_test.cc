#include "trainer/data/data_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;

TEST(DataKindTest, AcceptsWhatMayBeLines) {
  for (const std::string& start : {"{\"text\": \"a\"}\n"s, "\n \r\n{}"s, "\xef\xbb\xbf{}"s, ""s, "x"s, "3\n"s}) {
    EXPECT_TRUE(CheckStartsAsLines("x.jsonl", start).ok()) << start;
  }
}

TEST(DataKindTest, NamesWhatIsSomethingElse) {
  const std::pair<std::string, const char*> kinds[] = {
      {"PARE\x15\x04"s, "x.jsonl is an encrypted Parquet file, not JSON Lines; write it without encryption"},
      {"ARROW1\0\0"s, "an Arrow file"},
      {"\xff\xff\xff\xff\x10"s, "an Arrow stream"},
      {"version https://git-lfs.github.com/spec/v1\n"s, "git lfs pull"},
      {"PK\x03\x04"s, "a zip archive"},
      {"BZh91AY"s, "bunzip2"},
      {"\xfd"
       "7zXZ\0"s,
       "unxz"},
      {"\x04\x22\x4d\x18"s, "unlz4"},
      {"SQLite format 3\0"s, "an SQLite database"},
      {"<!DOCTYPE html>"s, "a web page"},
      {"\xff\xfe{\0\"\0"s, "UTF-16"},
      {"\xfe\xff\0{\0\""s, "UTF-16"},
      {"{\0\"\0t\0"s, "UTF-16"},
      {"\0{\0\"\0t"s, "UTF-16"},
      {"\xff\xfe\0\0{\0\0\0"s, "UTF-32"},
      {std::string(257, 'a') + "ustar", "a tar archive"},
      {" [\n {\"text\": \"a\"}]"s, "one list, not JSON Lines"},
  };
  for (const auto& [start, what] : kinds) {
    const absl::Status status = CheckStartsAsLines("x.jsonl", start);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }
}

TEST(DataKindTest, SaysWhyALineIsNoJson) {
  EXPECT_THAT(WhyNotJson("{\"text\": \"\xe9\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(WhyNotJson("{\"text\": \"NaN\", \"score\": NaN}"), HasSubstr("the line has NaN"));
  EXPECT_THAT(WhyNotJson("{\"score\": -Infinity}"), HasSubstr("the line has Infinity"));
  EXPECT_THAT(WhyNotJson(R"({"text": "\ud83d\ude00 \ud83d"})"), HasSubstr("has \\ud83d, half of a surrogate pair"));
  EXPECT_THAT(WhyNotJson(R"({"text": "\uDE00"})"), HasSubstr("has \\uDE00, half"));
  EXPECT_THAT(WhyNotJson(R"({"text": "\\ud83d", "x": })"), HasSubstr("not valid JSON: byte 26"));
  EXPECT_THAT(WhyNotJson(R"({"text": "a", "x": 1e999})"), HasSubstr("a number that is too large"));
  EXPECT_THAT(WhyNotJson("{\"text\": \"a"), HasSubstr("not valid JSON"));
  EXPECT_THAT(WhyNotJson("{\"text\": \"\\"), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace regroup
