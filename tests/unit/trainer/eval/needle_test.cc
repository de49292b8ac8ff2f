#include "trainer/eval/needle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/slow_transformer.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

/// Gives each character one of 21 tokens, different ones to the ten digits; 22 begins each text.
class CharacterTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    std::vector<int32_t> ids = *EncodeOrdinary(text);
    ids.insert(ids.begin(), 22);
    return ids;
  }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char letter : text) ids.push_back(letter % 21);
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t>) const override { return std::string(); }
  std::optional<int32_t> bos_id() const override { return 22; }
  std::optional<int32_t> eos_id() const override { return std::nullopt; }
  int64_t vocabulary_size() const override { return 23; }
};

class NeedleTest : public testing::Test {
 protected:
  absl::StatusOr<std::vector<NeedleCell>> Measure(const NeedleSettings& settings) {
    const auto text = folder_.Write("text.jsonl", "{\"text\": \"" + std::string(700, 'a') + "\"}\n");
    const TokenWindows filler = TokenWindows::Build(text, tokenizer_, {.sequence_length = 100}).value();
    return MeasureNeedle(model_, filler, tokenizer_, settings, at::kCPU, *MakeSelfCommunicator(),
                         [](int64_t, int64_t) {});
  }

  TemporaryFolder folder_;
  const CharacterTokenizer tokenizer_;
  const Model model_ = RandomModel(SmallConfig(2), true, 9);
};

TEST_F(NeedleTest, HasACellForEachLengthAndDepth) {
  const auto cells = Measure({.context_lengths = {120, 150}, .items = 2});
  ASSERT_TRUE(cells.ok()) << cells.status();
  ASSERT_EQ(cells->size(), 10u);
  for (size_t cell = 0; cell < cells->size(); ++cell) {
    EXPECT_EQ((*cells)[cell].context_length, cell < 5 ? 120 : 150);
    EXPECT_EQ((*cells)[cell].depth, 0.25 * static_cast<double>(cell % 5));
    EXPECT_EQ((*cells)[cell].items, 2);
  }
}

TEST_F(NeedleTest, ARandomModelGuesses) {
  const auto cells = Measure({.context_lengths = {120}, .items = 80});
  ASSERT_TRUE(cells.ok()) << cells.status();
  const int64_t right = std::accumulate(cells->begin(), cells->end(), int64_t{0},
                                        [](int64_t sum, const NeedleCell& cell) { return sum + cell.right; });
  // A quarter of 400, and four standard deviations of a guess.
  EXPECT_NEAR(static_cast<double>(right), 100, 4 * 8.7);
}

TEST_F(NeedleTest, RefusesAContextWithoutRoomAndATextThatIsTooShort) {
  EXPECT_THAT(std::string(Measure({.context_lengths = {64}, .items = 1}).status().message()), HasSubstr("no room"));
  EXPECT_THAT(std::string(Measure({.context_lengths = {1000}, .items = 1}).status().message()),
              HasSubstr("the text has 700 tokens, fewer than a context of 1000"));
}

}  // namespace
}  // namespace regroup
