#include "trainer/data/tokenizer/added_tokens.h"

#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

/// Returns the parts of a text, separated by bars: ids as #1, ordinary text unchanged.
std::string Split(const AddedTokenFinder& finder, const std::string& text) {
  std::string shown;
  for (const AddedTokenSplit& split : finder.Split(text)) {
    if (!shown.empty()) shown += '|';
    if (split.id) {
      shown.append("#").append(std::to_string(*split.id));
    } else {
      shown.append(text, split.range.begin, split.range.end - split.range.begin);
    }
  }
  return shown;
}

AddedToken Token(std::string content, int32_t id) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  return token;
}

TEST(AddedTokenFinderTest, TakesTheLeftmostAndThenTheLongest) {
  AddedTokenFinder finder;
  finder.Add(Token("ab", 1));
  finder.Add(Token("abcd", 2));
  finder.Add(Token("bcde", 3));
  EXPECT_EQ(Split(finder, "xabcde"), "x|#2|e");
  EXPECT_EQ(Split(finder, "abcx"), "#1|cx");
  EXPECT_EQ(Split(finder, "xbcde"), "x|#3");
  EXPECT_EQ(Split(finder, ""), "");
}

TEST(AddedTokenFinderTest, TakesWhiteSpaceAlongOnTheSidesThatStrip) {
  AddedTokenFinder finder;
  AddedToken left = Token("<l>", 1), right = Token("<r>", 2);
  left.left_strip = true;
  right.right_strip = true;
  finder.Add(left);
  finder.Add(right);
  EXPECT_EQ(Split(finder, "a \xc2\xa0<l> b <r> \n c"), "a|#1| b |#2|c");
}

TEST(AddedTokenFinderTest, LeavesAWordAloneThatIsPartOfAnother) {
  AddedTokenFinder finder;
  AddedToken token = Token("dog", 1);
  token.single_word = true;
  finder.Add(token);
  EXPECT_EQ(Split(finder, "dog dogs hotdog dog."), "#1| dogs hotdog |#1|.");
  EXPECT_EQ(Split(finder,
                  "\xc3\xa9"
                  "dog"),
            "\xc3\xa9"
            "dog");
}

TEST(AddedTokenFinderTest, IgnoresEmptyAndRepeatedTokens) {
  AddedTokenFinder finder;
  finder.Add(Token("", 1));
  finder.Add(Token("a", 2));
  finder.Add(Token("a", 3));
  EXPECT_EQ(Split(finder, "ba"), "b|#2");
}

}  // namespace
}  // namespace regroup
