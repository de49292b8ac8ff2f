#include "services/common/job_file/nearest_word.h"

#include <gtest/gtest.h>

#include <array>

namespace regroup {
namespace {

constexpr std::array<std::string_view, 3> kChoices = {"none", "procrustes", "principal"};

TEST(NearestWord, CountsOneForEachSlipOfTheFinger) {
  EXPECT_EQ(EditDistance("steps", "steps"), 0);
  EXPECT_EQ(EditDistance("step", "steps"), 1);
  EXPECT_EQ(EditDistance("stpes", "steps"), 1);
  EXPECT_EQ(EditDistance("stops", "steps"), 1);
  EXPECT_EQ(EditDistance("", "steps"), 5);
}

TEST(NearestWord, IgnoresLetterCase) { EXPECT_EQ(EditDistance("Steps", "sTEPS"), 0); }

TEST(NearestWord, FindsTheMeantWord) { EXPECT_EQ(NearestWord("procustes", kChoices), "procrustes"); }

TEST(NearestWord, FindsNothingWhereNothingIsNear) { EXPECT_EQ(NearestWord("zebra", kChoices), std::nullopt); }

TEST(NearestWord, ListsWordsAsASentenceDoes) {
  EXPECT_EQ(ListWords(kChoices), "none, procrustes or principal");
  EXPECT_EQ(ListWords(std::span(kChoices).first(1)), "none");
  EXPECT_EQ(ListWords({}), "");
}

}  // namespace
}  // namespace regroup
