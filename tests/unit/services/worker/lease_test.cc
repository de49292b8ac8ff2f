#include "services/worker/lease.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Lease::Time kStart = Lease::Time(seconds(1000));

TEST(Lease, EndsATenthBeforeTheCoordinatorsOwnCount) {
  Lease lease;
  lease.Grant(seconds(5), kStart);
  EXPECT_FALSE(lease.Expired(kStart + milliseconds(4'499)));
  EXPECT_TRUE(lease.Expired(kStart + milliseconds(4'500)));
}

TEST(Lease, KeepsAtMostASecondForKilling) {
  Lease lease;
  lease.Grant(seconds(60), kStart);
  EXPECT_FALSE(lease.Expired(kStart + milliseconds(58'999)));
  EXPECT_TRUE(lease.Expired(kStart + seconds(59)));
}

TEST(Lease, IsCountedFromWhenTheAnsweredCallWasSent) {
  Lease lease;
  lease.Grant(seconds(5), kStart);
  lease.Renew(kStart + seconds(3));
  EXPECT_FALSE(lease.Expired(kStart + milliseconds(7'499)));
  EXPECT_TRUE(lease.Expired(kStart + milliseconds(7'500)));
}

TEST(Lease, NeverExpiresWithoutOne) {
  Lease lease;
  EXPECT_FALSE(lease.Expired(kStart + seconds(9999)));
  lease.Grant(seconds(1), kStart);
  lease.Drop();
  EXPECT_FALSE(lease.Expired(kStart + seconds(9999)));
}

TEST(Lease, ACallMayTakeNoLongerThanWhatRemains) {
  Lease lease;
  EXPECT_EQ(lease.Remaining(kStart, milliseconds(700)), milliseconds(700));
  lease.Grant(seconds(1), kStart);
  EXPECT_EQ(lease.Remaining(kStart + milliseconds(600), milliseconds(700)), milliseconds(300));
  EXPECT_EQ(lease.Remaining(kStart + seconds(5), milliseconds(700)), milliseconds(1));
}

}  // namespace
}  // namespace regroup
