#include "trainer/data/tokenizer/text_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

/// Returns the pieces of "the-final--countdown" split at its hyphens, separated by bars.
std::string Split(SplitBehavior behavior, bool invert = false) {
  const std::string text = "the-final--countdown";
  const auto hyphens = FindCharacters(text, [](char32_t c) { return c == '-'; });
  std::string shown;
  for (const ByteRange& piece : SplitAtMatches(text.size(), hyphens, behavior, invert)) {
    if (!shown.empty()) shown += '|';
    shown.append(text, piece.begin, piece.end - piece.begin);
  }
  return shown;
}

TEST(TextSplitTest, CutsInFiveWays) {
  EXPECT_EQ(Split(SplitBehavior::kRemoved), "the|final|countdown");
  EXPECT_EQ(Split(SplitBehavior::kIsolated), "the|-|final|-|-|countdown");
  EXPECT_EQ(Split(SplitBehavior::kMergedWithPrevious), "the-|final-|-|countdown");
  EXPECT_EQ(Split(SplitBehavior::kMergedWithNext), "the|-final|-|-countdown");
  EXPECT_EQ(Split(SplitBehavior::kContiguous), "the|-|final|--|countdown");
}

TEST(TextSplitTest, CutsAtEmptyMatches) {
  const std::vector<ByteRange> matches = {{0, 0}, {2, 2}, {5, 5}};
  for (const SplitBehavior behavior :
       {SplitBehavior::kIsolated, SplitBehavior::kRemoved, SplitBehavior::kMergedWithNext}) {
    const std::vector<ByteRange> pieces = SplitAtMatches(5, matches, behavior, false);
    ASSERT_EQ(pieces.size(), 2u);
    EXPECT_EQ(pieces[0].end, 2u);
    EXPECT_EQ(pieces[1].end, 5u);
  }
}

TEST(TextSplitTest, TakesWhatLiesBetweenMatchesWhereInverted) {
  EXPECT_EQ(Split(SplitBehavior::kRemoved, true), "-|-|-");
}

TEST(TextSplitTest, RefusesAnUnknownBehavior) {
  EXPECT_TRUE(ParseSplitBehavior("Isolated").ok());
  EXPECT_FALSE(ParseSplitBehavior("isolated?").ok());
}

}  // namespace
}  // namespace regroup
