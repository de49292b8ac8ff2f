// Tests the check of a gang on one to three ranks, and that it notices a device or a connection that is wrong.
#include "trainer/parallel/gang_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/forwarding_communicator.h"
#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

/// Changes one entry in the middle of the second sum.
class WrongCommunicator final : public ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;

 private:
  absl::Status DoAllReduceSum(at::Tensor& tensor) override {
    const absl::Status status = ForwardingCommunicator::DoAllReduceSum(tensor);
    if (call_number() > 2) tensor[tensor.numel() / 2] += 1;
    return status;
  }
};

TEST(GangCheck, MeasuresAGangThatIsWell) {
  EXPECT_TRUE(CheckProduct(WorldDevice()).ok());
  const absl::StatusOr<GangCheck> check = CheckSum(World(), WorldDevice());
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_EQ(check->bytes, 64 << 20);
  EXPECT_GT(check->seconds, 0);
  const double ranks = World().size();
  EXPECT_DOUBLE_EQ(check->bytes_per_second * check->seconds, 2.0 * (64 << 20) * (ranks - 1) / ranks);
}

TEST(GangCheck, NoticesAWrongSum) {
  WrongCommunicator wrong(World());
  const absl::Status status = CheckSum(wrong, WorldDevice()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("wrong sum over"));
}

}  // namespace
}  // namespace regroup
