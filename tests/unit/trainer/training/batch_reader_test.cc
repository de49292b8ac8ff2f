#include "trainer/training/batch_reader.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "trainer/data/shuffled_order.h"
#include "trainer/eval/window_batch.h"

namespace regroup {
namespace {

class BatchReaderTest : public testing::Test {
 protected:
  const BatchSettings settings_{.batch_sequences = 8, .micro_batch_sequences = 3, .seed = 5, .with_documents = true};
  TemporaryFolder folder_;
  const TokenWindows windows_ = LetterWindows(folder_.path() / "data.jsonl", 10, 16);
  const TokenWindows instructions_ = LetterInstructions(folder_.path() / "instructions.jsonl", 10, 40);
};

TEST_F(BatchReaderTest, GivesTheWindowsOfTheStepInTheOrderOfTheSeed) {
  BatchReader reader(windows_, settings_);
  std::vector<int64_t> expected;
  for (const uint64_t pass : {0, 1, 2}) {
    for (const int64_t window : ShuffledOrder(windows_.windows(), 5 + pass)) expected.push_back(window);
  }
  for (int64_t step = 0; step < 4; ++step) {
    const StepBatch batch = reader.Take(step);
    ASSERT_EQ(batch.micro_batches.size(), 3U);
    std::vector<int64_t> seen;
    for (const MicroBatch& micro : batch.micro_batches) {
      seen.insert(seen.end(), micro.windows.begin(), micro.windows.end());
      EXPECT_TRUE(at::equal(micro.tokens, WindowBatch(windows_, micro.windows, at::kCPU)));
      EXPECT_TRUE(at::equal(micro.documents, DocumentsOfWindows(windows_, micro.windows, at::kCPU)));
      EXPECT_FALSE(micro.answers.defined());
    }
    EXPECT_TRUE(std::equal(seen.begin(), seen.end(), expected.begin() + 8 * step)) << "step " << step;
  }
}

TEST_F(BatchReaderTest, GoesBackToAnEarlierStep) {
  BatchReader reader(windows_, settings_);
  const at::Tensor first = reader.Take(0).micro_batches[0].tokens;
  reader.Take(1);
  reader.Take(2);
  EXPECT_TRUE(at::equal(reader.Take(0).micro_batches[0].tokens, first));
}

TEST_F(BatchReaderTest, RanksShareABatch) {
  BatchReader alone(windows_, settings_);
  const StepBatch all = alone.Take(3);
  std::vector<int64_t> together;
  for (const int64_t rank : {0, 1}) {
    BatchSettings share = settings_;
    share.rank = rank;
    share.ranks = 2;
    BatchReader reader(windows_, share);
    for (const MicroBatch& micro : reader.Take(3).micro_batches) {
      together.insert(together.end(), micro.windows.begin(), micro.windows.end());
    }
  }
  std::vector<int64_t> expected;
  for (const MicroBatch& micro : all.micro_batches) {
    expected.insert(expected.end(), micro.windows.begin(), micro.windows.end());
  }
  EXPECT_EQ(together, expected);
}

TEST_F(BatchReaderTest, KnowsTheAnswersOfEachMicroBatchAndOfAllRanks) {
  BatchSettings share = settings_;
  share.rank = 1;
  share.ranks = 2;
  BatchReader reader(instructions_, share), whole(instructions_, settings_);
  int64_t answers = 0;
  for (const MicroBatch& micro : whole.Take(0).micro_batches) answers += micro.answers.numel();
  const StepBatch batch = reader.Take(0);
  EXPECT_EQ(batch.answers, answers);
  const MicroBatch& micro = batch.micro_batches[0];
  std::vector<int64_t> expected;
  for (size_t row = 0; row < micro.windows.size(); ++row) {
    for (const int64_t place : instructions_.AnswerPlaces(micro.windows[row])) {
      expected.push_back(static_cast<int64_t>(row) * 40 + place);
    }
  }
  EXPECT_TRUE(at::equal(micro.answers, at::tensor(expected, at::kLong)));
}

}  // namespace
}  // namespace regroup
