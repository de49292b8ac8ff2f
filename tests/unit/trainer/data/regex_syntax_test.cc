#include "trainer/data/tokenizer/regex_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/data/tokenizer/regex.h"

namespace regroup {
namespace {

/// Returns the matches of a pattern in a text, separated by bars.
std::string Matches(std::string_view pattern, const std::string& text) {
  const auto regex = Regex::FromRuby(pattern);
  if (!regex.ok()) return std::string(regex.status().message());
  std::string shown;
  const auto matches = regex->FindAll(text);
  EXPECT_TRUE(matches.ok()) << matches.status();
  for (const ByteRange& match : *matches) {
    if (!shown.empty()) shown += '|';
    shown.append(text, match.begin, match.end - match.begin);
  }
  return shown;
}

TEST(RegexSyntaxTest, ReadsWhiteSpaceAsUnicodeDoesAndNotAsPcre) {
  EXPECT_EQ(Matches(R"(\s)",
                    "a\xe1\xa0\x8e"
                    "b c"),
            " ");  // U+180E is not a space.
  EXPECT_EQ(Matches(R"([^\s]+)",
                    "a\xe1\xa0\x8e"
                    "b c"),
            "a\xe1\xa0\x8e"
            "b|c");
  EXPECT_EQ(Matches(R"([\S]+)",
                    "a\xc2\xa0"
                    "b"),
            "a|b");  // U+00A0 is a space.
}

TEST(RegexSyntaxTest, RepeatsAnIntervalFollowedByPlusInsteadOfMakingItPossessive) {
  EXPECT_EQ(Matches(R"(\p{N}{1,3}+)", "12345"), "12345");
  EXPECT_EQ(Matches(R"(a[bc]{2}+)", "abcbcb"), "abcbc");
}

TEST(RegexSyntaxTest, AnchorsMatchAtEveryLine) { EXPECT_EQ(Matches("^a", "a\na ba"), "a|a"); }

TEST(RegexSyntaxTest, ReadsHexDigitsAndAHyphenAfterAClass) {
  EXPECT_EQ(Matches(R"(\h+)", "xbeefx"), "beef");
  EXPECT_EQ(Matches(R"([\s-z]+)", "a -z"), " -z");
}

TEST(RegexSyntaxTest, ReadsSetsWithinASet) {
  // BLOOM's pattern: neither white space nor one of the signs.
  EXPECT_EQ(Matches(R"( ?[^(\s|[.,!?…。，、।۔،])]+)", "Hello, world! (a|b) 你好。"), "Hello| world|a|b| 你好");
  EXPECT_EQ(Matches("[a[bc]d]+", "xabcdx[a"), "abcd|a");
  EXPECT_EQ(Matches("[a[^b-z]]+", "abc1"), "a|1");
  EXPECT_EQ(Matches("[]a]+|[^]b]", "]a]b]c"), "]a]|]|c");
}

TEST(RegexSyntaxTest, ReadsIntersectionsOfSets) {
  EXPECT_EQ(Matches("[a-z&&[^aeiou]]+", "regroup"), "r|gr|p");
  EXPECT_EQ(Matches("[^a-z&&[b-df-hj-np-tv-z]]+", "regroup"), "e|ou");
  EXPECT_EQ(Matches("[ab&&]|c", "abc"), "c");
  EXPECT_EQ(Matches(R"(\p{L}&&|[\p{L}&&\p{Han}&&[^日]]{2}+)", "日本語文x"), "本語");
}

TEST(RegexSyntaxTest, ReadsSetsOfPosix) {
  EXPECT_EQ(Matches("[[:alpha:]_]+|[[:digit:]]+|[[:^space:]]", "ab_é12 $"), "ab_é|12|$");
  EXPECT_EQ(Matches("[:ab:]+", "b:a c"), "b:a");
}

TEST(RegexSyntaxTest, CountsFractionsAmongWordsOutsideBracketsOnly) {
  EXPECT_EQ(Matches(R"(\w+)", "a½ b"), "a½|b");
  EXPECT_EQ(Matches(R"([\w]+)", "a½ b"), "a|b");
  EXPECT_EQ(Matches(R"([^\s\w]+)", "a½ b"), "½");
}

TEST(RegexSyntaxTest, ReadsAnchors) {
  EXPECT_EQ(Matches(R"(\bab\b)", "ab abc éab"), "ab");
  EXPECT_EQ(Matches(R"(\Bb\B|\Aa|c\z)", "abc c"), "a|b|c");
}

TEST(RegexSyntaxTest, ReadsNegatedPropertiesAndLongNames) {
  EXPECT_EQ(Matches(R"(\p{^L}+)", "a1 b"), "1 ");
  EXPECT_EQ(Matches(R"([\p{Letter}\P{^Nd}]+)", "a1 b"), "a1|b");
}

TEST(RegexSyntaxTest, ReadsCharacterCodes) { EXPECT_EQ(Matches(R"(\u00e9|\x{1F600}|\x41)", "Aé😀"), "A|é|😀"); }

TEST(RegexSyntaxTest, FindsAnEmptyMatchUnlessTheOneBeforeItEndsThere) {
  const auto matches = Regex::FromRuby("b*")->FindAll("abbaé");
  ASSERT_TRUE(matches.ok()) << matches.status();
  std::vector<std::pair<size_t, size_t>> found;
  for (const ByteRange& match : *matches) found.emplace_back(match.begin, match.end);
  EXPECT_THAT(found, ::testing::ElementsAre(std::pair(0, 0), std::pair(1, 3), std::pair(4, 4), std::pair(6, 6)));
}

TEST(RegexSyntaxTest, RefusesWhatTheTwoSyntaxesReadDifferently) {
  for (const char* pattern :
       {"[a-[b]]",    R"([a-\s])", "(?i)[a[^b]]", "(?i:[a&&b])", R"((?i)[\p{Lu}])", "[[:graph:]]", "[^a[^b]]",
        "[]",         R"(\R)",     "a(?i)b",      "(?<name>a)",  "(?m:.)",          R"(\xe9)",     "a{,3}",
        "(ab){1,2}+", "[abc",      "[a[b]",       R"(\1)",       R"(\p)",           "a{2}?"}) {
    const auto translated = TranslateRubyRegex(pattern);
    EXPECT_EQ(translated.status().code(), absl::StatusCode::kUnimplemented) << pattern;
  }
}

TEST(RegexSyntaxTest, SaysWhereABrokenPatternIsBroken) { EXPECT_THAT(Matches("(a", "a"), ::testing::HasSubstr("(a")); }

TEST(RegexTest, MatchesALongRunWithoutGivingUp) {
  const std::string spaces(1'000'000, ' ');
  const auto regex = Regex::FromRuby(R"(\s+(?!\S)|\s+)");
  ASSERT_TRUE(regex.ok());
  const auto matches = regex->FindAll(spaces + "x");
  ASSERT_TRUE(matches.ok()) << matches.status();
  ASSERT_EQ(matches->size(), 2u);
  EXPECT_EQ((*matches)[0].end, spaces.size() - 1);
}

TEST(RegexTest, MatchesALongRunOfSetsThatOverlap) {
  const auto regex = Regex::FromRuby(R"((?:[a[^b]\W])*b)");
  ASSERT_TRUE(regex.ok());
  const auto matches = regex->FindAll(std::string(200, '-'));
  ASSERT_TRUE(matches.ok()) << matches.status();
  EXPECT_TRUE(matches->empty());
}

TEST(RegexTest, SaysWhichLimitOfPcreAPatternExceeds) {
  const auto regex = Regex::FromRuby("(x+x+)+[yz]");
  ASSERT_TRUE(regex.ok());
  const auto matches = regex->FindAll(std::string(60, 'x'));
  EXPECT_EQ(matches.status().code(), absl::StatusCode::kDataLoss) << matches.status();
  EXPECT_THAT(std::string(matches.status().message()), ::testing::HasSubstr("(x+x+)+[yz]"));
  EXPECT_THAT(std::string(matches.status().message()), ::testing::HasSubstr("more than 10000000 steps"));
}

TEST(RegexTest, MatchesALiteralWithSigns) {
  const auto regex = Regex::Literal("a.[b]");
  ASSERT_TRUE(regex.ok());
  EXPECT_EQ(regex->FindAll("aXb a.[b]")->size(), 1u);
}

}  // namespace
}  // namespace regroup
