// Tests the contract of every communicator. Run alone, and by mpirun with two and three ranks; on GPUs by tests/gpu.
#include "trainer/parallel/communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

class CommunicatorTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  const int rank_ = World().rank();
  const int size_ = World().size();

  /// Returns small integers, exact in every dtype: entry i of rank r is (i % 7) + r.
  at::Tensor Numbers(int64_t count, int rank) const {
    return (at::arange(count, at::kLong).remainder(7) + rank).to(WorldDevice(), GetParam());
  }
  at::Tensor SumOfNumbers(int64_t count) const {
    at::Tensor sum = at::zeros({count}, at::kLong);
    for (int rank = 0; rank < size_; ++rank) sum += Numbers(count, rank).to(at::kCPU, at::kLong);
    return sum.to(WorldDevice(), GetParam());
  }
};

TEST_P(CommunicatorTest, AllReduceGivesTheSumToEveryRank) {
  at::Tensor tensor = Numbers(1001, rank_);
  ASSERT_TRUE(World().AllReduceSum(tensor).ok());
  EXPECT_TRUE(at::equal(tensor, SumOfNumbers(1001)));
}

TEST_P(CommunicatorTest, ReduceScatterGivesEachRankItsSliceOfTheSum) {
  const at::Tensor input = Numbers(65 * size_, rank_);
  at::Tensor output = at::empty({65}, input.options());
  ASSERT_TRUE(World().ReduceScatterSum(input, output).ok());
  EXPECT_TRUE(at::equal(output, SumOfNumbers(65 * size_).narrow(0, 65 * rank_, 65)));
  EXPECT_TRUE(at::equal(input, Numbers(65 * size_, rank_))) << "the input changed";
}

TEST_P(CommunicatorTest, AllGatherJoinsTheSlicesInOrderOfRank) {
  // 5 entries of bfloat16 are not a multiple of 4 bytes.
  for (const int64_t count : {5, 64}) {
    at::Tensor output = at::zeros({count * size_}, at::TensorOptions(GetParam()).device(WorldDevice()));
    ASSERT_TRUE(World().AllGather(Numbers(count, 3 * rank_), output).ok());
    for (int rank = 0; rank < size_; ++rank) {
      EXPECT_TRUE(at::equal(output.narrow(0, rank * count, count), Numbers(count, 3 * rank)));
    }
  }
}

TEST_P(CommunicatorTest, AllGatherTakesASliceThatLiesInPlace) {
  at::Tensor output = at::zeros({64 * size_}, at::TensorOptions(GetParam()).device(WorldDevice()));
  at::Tensor slice = output.narrow(0, 64 * rank_, 64);
  slice.copy_(Numbers(64, rank_));
  ASSERT_TRUE(World().AllGather(slice, output).ok());
  for (int rank = 0; rank < size_; ++rank) {
    EXPECT_TRUE(at::equal(output.narrow(0, rank * 64, 64), Numbers(64, rank)));
  }
}

TEST_P(CommunicatorTest, BroadcastCopiesTheRootsTensorFromAnyRoot) {
  for (int root = 0; root < size_; ++root) {
    at::Tensor tensor = Numbers(33, rank_);
    ASSERT_TRUE(World().Broadcast(tensor, root).ok());
    EXPECT_TRUE(at::equal(tensor, Numbers(33, root)));
  }
}

TEST_P(CommunicatorTest, CountsBytesByTheRingModel) {
  const int64_t share = size_ - 1;
  const auto count_of = [&](auto call) {
    const int64_t before = World().bytes_sent();
    call();
    return World().bytes_sent() - before;
  };
  at::Tensor whole = Numbers(12 * size_, rank_);
  at::Tensor slice = Numbers(12, rank_);
  const int64_t slice_bytes = static_cast<int64_t>(slice.nbytes());
  EXPECT_EQ(count_of([&] { ASSERT_TRUE(World().AllReduceSum(whole).ok()); }), 2 * share * slice_bytes);
  EXPECT_EQ(count_of([&] { ASSERT_TRUE(World().ReduceScatterSum(whole, slice).ok()); }), share * slice_bytes);
  EXPECT_EQ(count_of([&] { ASSERT_TRUE(World().AllGather(slice, whole).ok()); }), share * slice_bytes);
  EXPECT_EQ(count_of([&] { ASSERT_TRUE(World().Broadcast(whole, 0).ok()); }), share * slice_bytes);
  EXPECT_EQ(count_of([&] { ASSERT_TRUE(World().Barrier().ok()); }), 0);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CommunicatorTest,
                         testing::Values(at::kLong, at::kInt, at::kFloat, at::kDouble, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(CommunicatorWorldTest, EveryRankHasItsOwnNumber) {
  const at::TensorOptions numbers = at::TensorOptions(at::kLong).device(WorldDevice());
  at::Tensor seen = at::zeros({World().size()}, numbers);
  seen[World().rank()] = 1;
  ASSERT_TRUE(World().AllReduceSum(seen).ok());
  EXPECT_TRUE(at::equal(seen, at::ones({World().size()}, numbers)));
}

TEST(CommunicatorWorldTest, ASumHasTheSameBitsOnEveryRank) {
  at::manual_seed(World().rank());
  at::Tensor tensor = at::randn({10007}).to(WorldDevice());
  ASSERT_TRUE(World().AllReduceSum(tensor).ok());
  at::Tensor all = at::empty({10007 * World().size()}, tensor.options());
  ASSERT_TRUE(World().AllGather(tensor, all).ok());
  for (int rank = 0; rank < World().size(); ++rank) {
    EXPECT_TRUE(at::equal(all.narrow(0, rank * 10007, 10007), tensor));
  }
}

TEST(CommunicatorWorldTest, RoundsSumsOfBfloat16OnceOverMpiAndAtEachRankOverNccl) {
  // In bfloat16 256 + 1 stays 256, so adding values one after the other may lose every later 1.
  at::Tensor tensor =
      at::full({8}, World().rank() == 0 ? 256.0 : 1.0, at::TensorOptions(at::kBFloat16).device(WorldDevice()));
  ASSERT_TRUE(World().AllReduceSum(tensor).ok());
  const double exact = 256.0 + World().size() - 1;
  const double rounded = at::tensor(exact).to(at::kBFloat16).item<double>();
  if (World().size() > 2) EXPECT_NE(rounded, 256) << "so much that rounding at each rank shows";
  const bool over_nccl = WorldDevice().is_cuda();
  EXPECT_NEAR(tensor[0].item<double>(), rounded, over_nccl ? World().size() - 1 : 0);
}

TEST(CommunicatorWorldTest, NotesTheRunningCollectiveAndForgetsItAfterwards) {
  ActivityBoard board;
  World().set_activity(&board);
  ASSERT_TRUE(World().Barrier().ok());
  World().set_activity(nullptr);
  EXPECT_EQ(board.Read().collective, "");
  EXPECT_GE(board.Read().ticks, 2);
}

}  // namespace
}  // namespace regroup
