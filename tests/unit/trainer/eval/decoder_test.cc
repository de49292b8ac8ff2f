#include "trainer/eval/decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/slow_transformer.h"

namespace regroup {
namespace {

TEST(DecodeGreedilyTest, TakesTheMostLikelyTokenOfTheWholeSequenceEachTime) {
  const Model model = RandomModel(SmallConfig(2), true, 8);
  at::manual_seed(3);
  const at::Tensor prompt = at::randint(0, 23, {3, 6}, at::kLong);
  at::Tensor sequence = prompt;
  for (int step = 0; step < 9; ++step) {
    const at::Tensor logits = SlowLogits(model, sequence).select(1, sequence.size(1) - 1);
    sequence = at::cat({sequence, logits.argmax(-1, true)}, 1);
  }
  EXPECT_TRUE(at::equal(DecodeGreedily(model, prompt, 9), sequence.narrow(1, 6, 9)));
  Model packed = model;
  PackForDecoding(packed);
  EXPECT_TRUE(at::equal(DecodeGreedily(packed, prompt, 9), sequence.narrow(1, 6, 9)));
}

TEST(PackForDecodingTest, LaysOutEveryLinearMapAndTheEmbeddingWhereItIsTheHead) {
  Model model = RandomModel(SmallConfig(2), true, 8);
  model.head = {};
  const Model before = model;
  PackForDecoding(model);
  VisitLinears(model, [](const Linear& linear) { EXPECT_FALSE(linear.weight.defined()); });
  EXPECT_TRUE(UnpackWeight(model.head.packed).equal(model.embedding));
  EXPECT_TRUE(UnpackWeight(model.blocks[1].attention.key.packed).equal(before.blocks[1].attention.key.weight));
  EXPECT_TRUE(before.blocks[1].attention.key.weight.defined());
}

TEST(DecodeGreedilyTest, ReadsOneTokenPromptsToo) {
  const Model model = RandomModel(SmallConfig(1), false, 8);
  const at::Tensor prompt = at::full({1, 1}, 4, at::kLong);
  const at::Tensor expected = SlowLogits(model, prompt)[0][0].argmax();
  EXPECT_TRUE(at::equal(DecodeGreedily(model, prompt, 1)[0][0], expected));
}

}  // namespace
}  // namespace regroup
