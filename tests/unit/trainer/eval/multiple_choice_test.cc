#include "trainer/eval/multiple_choice.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/slow_transformer.h"

namespace regroup {
namespace {

/// Encodes 'a' to 'u' as 0 to 20 and a space as 21; 22 begins each text.
class SpellingTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    std::vector<int32_t> ids = {22};
    const std::vector<int32_t> letters = *EncodeOrdinary(text);
    ids.insert(ids.end(), letters.begin(), letters.end());
    return ids;
  }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char letter : text) ids.push_back(letter == ' ' ? 21 : letter - 'a');
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t>) const override { return std::string(); }
  std::optional<int32_t> bos_id() const override { return 22; }
  std::optional<int32_t> eos_id() const override { return std::nullopt; }
  int64_t vocabulary_size() const override { return 23; }
};

class MultipleChoiceTest : public testing::Test {
 protected:
  absl::StatusOr<MultipleChoice> Measure(const std::string& lines) {
    std::ofstream(folder_.path() / "set.jsonl") << lines;
    return MeasureMultipleChoice(model_, folder_.path() / "set.jsonl", SpellingTokenizer(), at::kCPU,
                                 *MakeSelfCommunicator(), [](int64_t, int64_t) {});
  }

  /// Returns the log-likelihood of the last `scored` ids, one logit at a time.
  double ScoreByHand(const std::vector<int32_t>& ids, int64_t scored) {
    const at::Tensor tokens = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
    const at::Tensor log_p = at::log_softmax(SlowLogits(model_, tokens.unsqueeze(0))[0], -1);
    double sum = 0;
    for (auto i = static_cast<int64_t>(ids.size()) - scored; i < static_cast<int64_t>(ids.size()); ++i) {
      sum += log_p[i - 1][ids[i]].item<double>();
    }
    return sum;
  }

  TemporaryFolder folder_;
  Model model_ = RandomModel(SmallConfig(2), true, 9);
};

TEST_F(MultipleChoiceTest, ScoresTheTokensOfEachChoiceAfterTheContext) {
  const auto result = Measure(R"({"context": "abc", "choices": ["de", "fghij", "k"], "label": 1}
{"context": "lmnopq", "choices": ["a", "bb"], "label": 0}
)");
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->items.size(), 2u);
  const SpellingTokenizer tokenizer;
  const auto expect = [&](size_t item, size_t choice, std::string_view text, int64_t scored) {
    const ChoiceItem& actual = result->items[item];
    EXPECT_NEAR(actual.log_likelihoods[choice], ScoreByHand(*tokenizer.Encode(text), scored), 1e-4) << text;
    EXPECT_EQ(actual.bytes[choice], scored - 1) << "without the space before it";
    EXPECT_EQ(actual.characters[choice], scored - 1);
  };
  expect(0, 0, "abc de", 3);
  expect(0, 1, "abc fghij", 6);
  expect(0, 2, "abc k", 2);
  expect(1, 0, "lmnopq a", 2);
  expect(1, 1, "lmnopq bb", 3);
  EXPECT_EQ(result->items[0].label, 1);
}

TEST_F(MultipleChoiceTest, AnEncoderDecoderHasItsPositionsForContextAndChoice) {
  model_ = RandomEncoderDecoder(9);
  model_.config.max_positions = 2 * 6;
  model_.config.learned_positions = 6;
  model_.positions = model_.encoder_positions = at::randn({6, model_.config.hidden_size});
  const std::string record = R"({"context": "%", "choices": ["a", "abcdefghijk"], "label": 0})";
  const auto scores = [&](const std::string& context) {
    const auto result = Measure(std::string(record).replace(record.find('%'), 1, context) + "\n");
    EXPECT_TRUE(result.ok()) << result.status();
    return result->items[0].log_likelihoods;
  };
  // The encoder reads the last 6 tokens of the context, and the last 6 of a choice are scored.
  EXPECT_EQ(scores("aaaaabcdefg"), scores("pqrstbcdefg"));
  EXPECT_NE(scores("aaaaabcdefg"), scores("aaaaabcdefh"));
}

TEST_F(MultipleChoiceTest, ALongContextLosesItsBeginning) {
  model_.config.max_positions = 8;
  const auto result = Measure(R"({"context": "abcdefghijkl", "choices": ["mn", "o"], "label": 0})");
  ASSERT_TRUE(result.ok()) << result.status();
  std::vector<int32_t> ids = *SpellingTokenizer().Encode("abcdefghijkl mn");
  ids.erase(ids.begin(), ids.end() - 9);
  model_.config.max_positions = 9;
  EXPECT_NEAR(result->items[0].log_likelihoods[0], ScoreByHand(ids, 3), 1e-4) << "the last token is not read";
}

TEST_F(MultipleChoiceTest, WhitespaceAtTheEndOfTheContextCountsToTheContinuation) {
  const auto result = Measure(R"({"context": "abc  ", "choices": ["de", "f"], "label": 0})");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->items[0].log_likelihoods[0], ScoreByHand(*SpellingTokenizer().Encode("abc   de"), 5), 1e-4);
  EXPECT_EQ(result->items[0].bytes[0], 2);
}

TEST_F(MultipleChoiceTest, AnEmptyContextIsTheBeginToken) {
  const auto result = Measure(R"({"context": "", "choices": ["de", "f"], "label": 0})");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->items[0].log_likelihoods[0], ScoreByHand({22, 21, 3, 4}, 3), 1e-4);
}

TEST(ChoiceItemTest, TheBestIsTheLikeliestInSumOrByItsLength) {
  const ChoiceItem item{.label = 0, .log_likelihoods = {-4.0, -6.0, -4.5}, .characters = {2, 6, 2}, .bytes = {2, 6, 9}};
  EXPECT_EQ(item.Best(ChoiceLength::kNone), 0);
  EXPECT_EQ(item.Best(ChoiceLength::kCharacters), 1);
  EXPECT_EQ(item.Best(ChoiceLength::kBytes), 2);
  const ChoiceItem with_empty{.log_likelihoods = {-0.1, -6.0}, .characters = {0, 6}, .bytes = {0, 6}};
  EXPECT_EQ(with_empty.Best(ChoiceLength::kCharacters), 1);
}

TEST(MultipleChoiceAccuracyTest, IsTheShareOfRightItemsWithItsStandardError) {
  MultipleChoice result;
  for (const int64_t label : {0, 1, 0, 0}) {
    result.items.push_back({.label = label, .log_likelihoods = {-1.0, -2.0}, .bytes = {1, 4}});
  }
  EXPECT_DOUBLE_EQ(result.Accuracy(ChoiceLength::kNone), 0.75);
  EXPECT_DOUBLE_EQ(result.StandardError(ChoiceLength::kNone), std::sqrt(0.75 * 0.25 / 3));
  EXPECT_DOUBLE_EQ(result.Accuracy(ChoiceLength::kBytes), 0.25);
}

}  // namespace
}  // namespace regroup
