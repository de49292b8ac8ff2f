// Compares passes through borrowed blocks, and their gradients, with those through blocks that stay.
#include "trainer/nn/lent_block.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

using testing::ElementsAre;

at::Tensor SomeTokens() { return at::tensor({3, 1, 4, 1, 5, 9, 2, 6, 5, 8, 7, 3}, at::kLong).view({2, 6}); }

std::vector<at::Tensor*> SlotsOf(Block& block) {
  std::vector<at::Tensor*> slots;
  VisitBlock(block, 0, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) slots.push_back(&tensor);
  });
  return slots;
}

/// Lends copies of a model's blocks, whose feed-forwards' last weight is multiplied by `factor`, and sums up gradients.
class CopyLender final : public BlockLender {
 public:
  CopyLender(const Model& model, at::Tensor factor) : model_(model), factor_(std::move(factor)) {
    for (Block& block : model_.blocks) {
      for (const at::Tensor* slot : SlotsOf(block)) sums_.push_back(at::zeros_like(*slot));
    }
  }

  std::vector<at::Tensor> InputsOf(int64_t) const override { return {factor_}; }

  LentBlock Lend(int64_t layer, const std::vector<at::Tensor>& inputs, Pass pass) override {
    EXPECT_FALSE(lent_.has_value()) << "layer " << *lent_ << " was not given back";
    lent_ = layer;
    visits_.push_back(layer);
    LentBlock lent{.block = CloneBlock(model_.blocks[layer], at::kFloat, at::kCPU)};
    for (at::Tensor* slot : SlotsOf(lent.block)) {
      slot->set_requires_grad(true);
      if (pass == Pass::kBackward) lent.trained.push_back(*slot);
    }
    if (lent.block.feed_forward.down.defined()) {
      lent.block.feed_forward.down.weight = lent.block.feed_forward.down.weight * inputs.at(0);
    }
    return lent;
  }

  void TakeBack(int64_t layer, std::vector<at::Tensor> gradients) override {
    EXPECT_EQ(lent_, layer);
    lent_.reset();
    size_t first = 0;
    for (int64_t before = 0; before < layer; ++before) first += SlotsOf(model_.blocks[before]).size();
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i].defined()) sums_[first + i] += gradients[i];
    }
  }

  const std::vector<at::Tensor>& sums() const { return sums_; }
  const std::vector<int64_t>& visits() const { return visits_; }

 private:
  Model model_;
  at::Tensor factor_;
  std::vector<at::Tensor> sums_;
  std::optional<int64_t> lent_;
  std::vector<int64_t> visits_;
};

struct Found {
  at::Tensor states;
  /// Gradients of the factor, and of the outer parameters that train.
  std::vector<at::Tensor> gradients;
};

/// Returns the states and the gradients of a random sum of them.
Found RunBackward(Model& model, at::Tensor& factor, const WindowOptions& options) {
  Found found{.states = RunHiddenStates(model, SomeTokens(), options)};
  at::manual_seed(4);
  (found.states * at::randn(found.states.sizes())).sum().backward();
  found.gradients = {factor.grad()};
  VisitOuter(model, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined() && tensor.requires_grad()) found.gradients.push_back(tensor.grad());
  });
  return found;
}

at::Tensor Factor() { return at::full({}, 0.9f).set_requires_grad(true); }

void TrainOuter(Model& model) {
  VisitOuter(model, [](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor.set_requires_grad(true);
  });
}

void ExpectTheSameBits(const Model& original, bool trains_outer) {
  Model kept = CloneModel(original, at::kFloat, at::kCPU), outer = CloneModel(original, at::kFloat, at::kCPU);
  at::Tensor factor = Factor(), lent_factor = Factor();
  Model scaled = kept;
  std::vector<at::Tensor> leaves;
  for (size_t i = 0; i < kept.blocks.size(); ++i) {
    for (at::Tensor* slot : SlotsOf(kept.blocks[i])) leaves.push_back(slot->set_requires_grad(true));
    scaled.blocks[i] = kept.blocks[i];
    Linear& down = scaled.blocks[i].feed_forward.down;
    if (down.defined()) down.weight = down.weight * factor;
  }
  if (trains_outer) {
    TrainOuter(scaled);
    TrainOuter(outer);
  }
  CopyLender lender(original, lent_factor);
  for (Block& block : outer.blocks) {
    for (at::Tensor* slot : SlotsOf(block)) slot->fill_(std::numeric_limits<double>::quiet_NaN());
  }
  const Found expected = RunBackward(scaled, factor, {});
  const Found found = RunBackward(outer, lent_factor, {.lender = &lender});
  EXPECT_TRUE(at::equal(found.states, expected.states));
  ASSERT_EQ(found.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < found.gradients.size(); ++i) {
    if (!expected.gradients[i].defined()) continue;  // The head is not used.
    EXPECT_TRUE(at::allclose(found.gradients[i], expected.gradients[i], 1e-6, 1e-6)) << i;
  }
  ASSERT_EQ(lender.sums().size(), leaves.size());
  for (size_t i = 0; i < leaves.size(); ++i) {
    // A parallel block has a norm that it does not use.
    const at::Tensor gradient = leaves[i].grad();
    EXPECT_TRUE(at::equal(lender.sums()[i], gradient.defined() ? gradient : at::zeros_like(leaves[i]))) << i;
  }
}

TEST(LentBlockTest, GivesTheSameBitsInADecoder) { ExpectTheSameBits(RandomModel(SmallConfig(2), true, 3), true); }

TEST(LentBlockTest, GivesTheSameBitsWhereNothingBeforeTheBlocksTrains) {
  ExpectTheSameBits(RandomModel(SmallConfig(2), true, 3), false);
}

TEST(LentBlockTest, GivesTheSameBitsInAParallelBlock) {
  ModelConfig config = SmallConfig(4);
  config.layout = BlockLayout::kParallel;
  ExpectTheSameBits(RandomModel(config, true, 3), true);
}

TEST(LentBlockTest, GivesTheSameBitsWithLinearBiases) {
  ModelConfig config = SmallConfig(4);
  config.kinds[0].rotary = {};
  config.alibi = true;
  ExpectTheSameBits(RandomModel(config, true, 3), true);
}

TEST(LentBlockTest, GivesTheSameBitsInAnEncoderDecoder) { ExpectTheSameBits(RandomEncoderDecoder(5), true); }

TEST(LentBlockTest, VisitsLayersUpwardsAndDownwards) {
  Model model = RandomModel(SmallConfig(2), true, 3);
  at::Tensor factor = Factor();
  CopyLender lender(model, factor);
  RunBackward(model, factor, {.lender = &lender});
  EXPECT_THAT(lender.visits(), ElementsAre(0, 1, 1, 0));
}

TEST(LentBlockTest, RunsWithoutGradientsToo) {
  const at::NoGradGuard no_gradients;
  const Model model = RandomModel(SmallConfig(2), true, 3);
  CopyLender lender(model, at::ones({}));
  EXPECT_TRUE(
      at::equal(RunHiddenStates(model, SomeTokens(), {.lender = &lender}), RunHiddenStates(model, SomeTokens())));
  EXPECT_THAT(lender.visits(), ElementsAre(0, 1));
}

}  // namespace
}  // namespace regroup
