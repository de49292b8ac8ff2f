#include "trainer/report/paired_test.h"

#include <gtest/gtest.h>

#include <cmath>

namespace regroup {
namespace {

TEST(PairedAnswersTest, CountsTheItemsThatOnlyOneModelAnswers) {
  const PairedAnswers answers =
      CompareAnswers({true, true, true, false, false, true}, {true, false, false, true, false, false});
  EXPECT_EQ(answers.items, 6);
  EXPECT_EQ(answers.only_first_right, 3);
  EXPECT_EQ(answers.only_second_right, 1);
  EXPECT_DOUBLE_EQ(answers.Difference(), -2.0 / 6);
}

TEST(PairedAnswersTest, TheStandardErrorIsThatOfTheMeanDifference) {
  // The differences are -1, -1, -1, 1, 0, 0: their squares sum to 4, minus 6 times the squared mean of 1/9.
  const PairedAnswers answers{.items = 6, .only_first_right = 3, .only_second_right = 1};
  EXPECT_NEAR(answers.StandardError(), std::sqrt(10.0 / 3 / 5 / 6), 1e-12);
}

TEST(PairedAnswersTest, ThePValueIsThatOfAFairCoin) {
  // At most 1 of 9, both tails: 2 (1 + 9) / 2^9.
  EXPECT_NEAR((PairedAnswers{.items = 50, .only_first_right = 8, .only_second_right = 1}).PValue(), 20.0 / 512, 1e-12);
  EXPECT_NEAR((PairedAnswers{.items = 50, .only_first_right = 0, .only_second_right = 5}).PValue(), 2.0 / 32, 1e-12);
  EXPECT_DOUBLE_EQ((PairedAnswers{.items = 50, .only_first_right = 4, .only_second_right = 4}).PValue(), 1.0);
  EXPECT_DOUBLE_EQ((PairedAnswers{.items = 50}).PValue(), 1.0);
}

TEST(PairedAnswersTest, AgreesWithAnotherImplementationOnLargeCounts) {
  // scipy.stats.binomtest(430, 1000).pvalue
  EXPECT_NEAR((PairedAnswers{.items = 5000, .only_first_right = 430, .only_second_right = 570}).PValue(),
              1.0709737664959605e-05, 1e-14);
}

TEST(PairedMeanTest, IsTheMeanOfTheDifferencesWithItsStandardError) {
  const PairedMean mean = CompareMeans({1, 2, 3, 4}, {2, 2, 5, 5});
  EXPECT_DOUBLE_EQ(mean.difference, 1.0);
  // Differences 1, 0, 2, 1: sample variance 2/3, over 4.
  EXPECT_NEAR(mean.standard_error, std::sqrt(2.0 / 3 / 4), 1e-12);
  EXPECT_EQ(CompareMeans({}, {}).difference, 0);
}

}  // namespace
}  // namespace regroup
