// Tests gradients that are summed over ranks during the backward pass. Run alone, and by mpirun with two and four
// ranks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/trainer/fixtures/forwarding_communicator.h"
#include "tests/unit/trainer/fixtures/regression.h"
#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr AdamWOptions kSmallBuckets{.bucket_bytes = 64};

/// Records the activity board and the tensor sizes while gradients are summed.
class NotingCommunicator final : public ForwardingCommunicator {
 public:
  explicit NotingCommunicator(Communicator& real) : ForwardingCommunicator(real) { set_activity(&board_); }
  const std::vector<std::string>& seen() const { return seen_; }
  const std::vector<int64_t>& sizes() const { return sizes_; }

 private:
  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    seen_.push_back(board_.Read().collective);
    sizes_.push_back(input.numel() / size());
    return ForwardingCommunicator::DoReduceScatterSum(input, output);
  }

  ActivityBoard board_;
  std::vector<std::string> seen_;
  std::vector<int64_t> sizes_;
};

struct Case {
  at::ScalarType dtype;
  int64_t micro_batches;
  int64_t bucket_bytes;
};

class OverlapBitsTest : public testing::TestWithParam<Case> {};

TEST_P(OverlapBitsTest, GivesTheSameBits) {
  const auto& [dtype, micro_batches, bucket_bytes] = GetParam();
  if (12 % (micro_batches * World().size()) != 0) GTEST_SKIP() << "the batch has not so many parts";
  Regression behind(World(), dtype, {.bucket_bytes = bucket_bytes, .overlap = false});
  Regression beside(World(), dtype, {.bucket_bytes = bucket_bytes});
  for (int step = 0; step < 20; ++step) {
    EXPECT_EQ(beside.Step(step, micro_batches), behind.Step(step, micro_batches));
  }
  EXPECT_TRUE(at::equal(beside.Weights(), behind.Weights()));
}

INSTANTIATE_TEST_SUITE_P(Cases, OverlapBitsTest,
                         testing::Values(Case{at::kFloat, 1, 64}, Case{at::kFloat, 3, 64}, Case{at::kFloat, 1, 4900},
                                         Case{at::kBFloat16, 1, 64}, Case{at::kBFloat16, 3, 64}));

TEST(OverlapTest, TrainsTheWeightsOfOneRank) {
  const auto self = MakeSelfCommunicator();
  Regression alone(*self), together(World(), at::kFloat, kSmallBuckets);
  for (int step = 0; step < 100; ++step) {
    alone.Step(step);
    together.Step(step);
  }
  EXPECT_LT((together.Weights() - alone.Weights()).abs().max().item<double>(), 1e-6);
}

/// Three parameters of 64, 128 and 192 entries. Their gradients are 1, 2 and 3 on every rank.
class ThreeParameters {
 public:
  explicit ThreeParameters(Communicator& communicator) : communicator_(communicator) {
    for (int64_t i = 0; i < 3; ++i) parameters_.push_back(at::zeros({64 * (i + 1)}));
    optimizer_.emplace(std::vector<ParameterGroup>{{.name = "base",
                                                    .parameters = {&parameters_[0], &parameters_[1], &parameters_[2]}}},
                       AdamWOptions{.clip_norm = 0, .bucket_bytes = 64}, communicator);
  }

  /// Runs a backward pass that reaches the last of the given parameters first.
  void Backward(const std::vector<size_t>& order) {
    at::Tensor loss = at::zeros({});
    for (const size_t i : order) loss = loss + static_cast<double>(i + 1) * parameters_[i].sum();
    loss.backward();
  }
  ShardedAdamW& optimizer() { return *optimizer_; }
  /// Returns the norm of these gradients after they are summed.
  double Norm(const std::vector<size_t>& all) const {
    double squares = 0;
    for (const size_t i : all) squares += 64.0 * static_cast<double>((i + 1) * (i + 1) * (i + 1));
    return communicator_.size() * std::sqrt(squares);
  }

 private:
  Communicator& communicator_;
  std::vector<at::Tensor> parameters_;
  std::optional<ShardedAdamW> optimizer_;
};

TEST(OverlapTest, RanksMayReachTheirGradientsInAnyOrder) {
  NotingCommunicator noting(World());
  ThreeParameters model(noting);
  const std::vector<std::vector<size_t>> orders = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}};
  model.optimizer().ZeroGradients();
  model.optimizer().BeginBackward(/*is_last=*/true);
  model.Backward(orders[static_cast<size_t>(World().rank()) % orders.size()]);
  const auto norm = model.optimizer().Step(1e-3);
  ASSERT_TRUE(norm.ok()) << norm.status();
  EXPECT_NEAR(*norm, model.Norm({0, 1, 2}), 1e-3);
  // The last used parameter is reduced first; slices are padded to 64 entries.
  const auto slice = [](int64_t entries) { return (entries / World().size() + 63) / 64 * 64; };
  EXPECT_THAT(noting.sizes(), ElementsAre(slice(192), slice(128), slice(64)));
}

TEST(OverlapTest, AParameterWithoutAGradientHoldsNothingUp) {
  ThreeParameters model(World());
  model.optimizer().ZeroGradients();
  model.optimizer().BeginBackward(/*is_last=*/true);
  // Only rank 0 has a gradient for the last parameter, which is the first to be sent.
  if (World().rank() == 0) {
    model.Backward({0, 2});
  } else {
    model.Backward({0});
  }
  const auto norm = model.optimizer().Step(1e-3);
  ASSERT_TRUE(norm.ok()) << norm.status();
  const double size = World().size();
  EXPECT_NEAR(*norm, std::sqrt(64.0 * size * size + 192.0 * 9.0), 1e-3);
}

TEST(OverlapTest, TheActivityBoardNamesWhatIsUnderWay) {
  NotingCommunicator noting(World());
  ThreeParameters model(noting);
  model.optimizer().ZeroGradients();
  model.optimizer().BeginBackward(/*is_last=*/true);
  model.Backward({0, 1, 2});
  ASSERT_TRUE(model.optimizer().Step(1e-3).ok());
  EXPECT_THAT(noting.seen(), ElementsAre("reduce_scatter #0", "reduce_scatter #1", "reduce_scatter #2"));
}

TEST(OverlapTest, ASecondBackwardPassIsAnErrorAndNoWrongSum) {
  if (World().size() == 1) GTEST_SKIP() << "alone there is nothing to overlap";
  ThreeParameters model(World());
  model.optimizer().ZeroGradients();
  model.optimizer().BeginBackward(/*is_last=*/true);
  model.Backward({0, 1, 2});
  model.Backward({0, 1, 2});
  const auto norm = model.optimizer().Step(1e-3);
  EXPECT_EQ(norm.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(norm.status().message()), HasSubstr("changed after"));
}

}  // namespace
}  // namespace regroup
