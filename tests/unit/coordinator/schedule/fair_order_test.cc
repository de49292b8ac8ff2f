#include "coordinator/schedule/fair_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::ElementsAre;

Claim Of(const std::string& owner, int age, int ranks = 1, int priority = 0) {
  return {.owner = owner,
          .priority = priority,
          .create_time = Time(Duration(100 - age)),
          .job = owner + std::to_string(age),
          .ranks = ranks};
}

TEST(FairOrder, IsThatOfAgeWhereNobodyKeepsOwnersApart) {
  EXPECT_THAT(FairOrder({Of("", 1), Of("", 3), Of("", 2)}, {}), ElementsAre(1, 2, 0));
}

TEST(FairOrder, LetsOwnersTakeTurns) {
  // Alice submitted three jobs first; bob's only job comes second.
  EXPECT_THAT(FairOrder({Of("alice", 9), Of("alice", 8), Of("alice", 7), Of("bob", 1)}, {}), ElementsAre(0, 3, 1, 2));
}

TEST(FairOrder, CountsSlotsAndNotTasks) {
  EXPECT_THAT(FairOrder({Of("alice", 9, 4), Of("alice", 8), Of("bob", 3), Of("bob", 2), Of("bob", 1)}, {}),
              ElementsAre(0, 2, 3, 4, 1));
}

TEST(FairOrder, CountsWhatRunsAlready) {
  EXPECT_THAT(FairOrder({Of("alice", 9), Of("bob", 2), Of("bob", 1)}, {{"alice", 2}}), ElementsAre(1, 2, 0));
}

TEST(FairOrder, LetsAnOwnerPreferOneOfItsJobsButNotPushPastOthers) {
  EXPECT_THAT(FairOrder({Of("alice", 9), Of("alice", 8, 1, 100), Of("bob", 1)}, {{"alice", 1}}), ElementsAre(2, 1, 0));
}

TEST(FairOrder, GivesAGangItsTurnWhenItsOwnerHasLessThanTheOthers) {
  EXPECT_THAT(FairOrder({Of("alice", 1, 8), Of("bob", 9), Of("bob", 8)}, {{"bob", 1}}), ElementsAre(0, 1, 2));
}

TEST(FairOrder, KeepsTheTasksOfAJobInTheirOrder) {
  Claim late = Of("alice", 1);
  late.task = 7;
  EXPECT_THAT(FairOrder({late, Of("alice", 1)}, {}), ElementsAre(1, 0));
}

}  // namespace
}  // namespace regroup
