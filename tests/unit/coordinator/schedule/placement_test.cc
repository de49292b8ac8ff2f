#include "coordinator/schedule/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Capacity Asking(int slots, int free_slots) { return {.slots = slots, .free_slots = free_slots, .is_asking = true}; }
Capacity Busy(int slots, int free_slots) { return {.slots = slots, .free_slots = free_slots}; }
Demand Gang(int ranks) { return {.ranks = ranks}; }
Demand Single() { return {.ranks = 1}; }

TEST(Placement, GivesTheFirstTaskToTheFullestWorkerThatHoldsIt) {
  EXPECT_THAT(Place({Single()}, {Asking(4, 4), Asking(4, 1), Asking(4, 2)}), ElementsAre(Placement{0, 1}));
}

TEST(Placement, GivesEachAskingWorkerOneTaskAtATime) {
  EXPECT_THAT(Place({Single(), Single()}, {Asking(4, 4)}), ElementsAre(Placement{0, 0}));
}

TEST(Placement, GivesNothingToAWorkerThatDoesNotAsk) { EXPECT_THAT(Place({Single()}, {Busy(4, 4)}), IsEmpty()); }

TEST(Placement, NeverSplitsAGang) {
  EXPECT_THAT(Place({Gang(2)}, {Asking(1, 1), Asking(1, 1)}), IsEmpty());
  EXPECT_THAT(Place({Gang(2)}, {Asking(2, 1), Asking(2, 2)}), ElementsAre(Placement{0, 1}));
}

TEST(Placement, KeepsSmallTasksOffTheWorkerThatAGangWaitsFor) {
  // The gang of 4 fits only the first worker, which is half busy.
  EXPECT_THAT(Place({Gang(4), Single()}, {Asking(4, 2), Asking(1, 1)}), ElementsAre(Placement{1, 1}));
  EXPECT_THAT(Place({Gang(4), Single()}, {Asking(4, 2)}), IsEmpty());
}

TEST(Placement, LetsTasksOfHigherPrecedenceGoBeforeTheGang) {
  EXPECT_THAT(Place({Single(), Gang(4)}, {Asking(4, 2)}), ElementsAre(Placement{0, 0}));
}

TEST(Placement, ReservesNothingForAGangThatNoWorkerCanEverHold) {
  EXPECT_THAT(Place({Gang(8), Single()}, {Asking(4, 2)}), ElementsAre(Placement{1, 0}));
}

TEST(Placement, ReservesTheEmptiestWorkerThatCouldHoldTheGang) {
  EXPECT_THAT(Place({Gang(4), Single()}, {Asking(4, 1), Asking(4, 3)}), ElementsAre(Placement{1, 0}));
}

TEST(Placement, SendsCudaTasksToCudaWorkersOnly) {
  Capacity cuda = Asking(1, 1);
  cuda.has_cuda = true;
  const Demand demand{.ranks = 1, .needs_cuda = true};
  EXPECT_THAT(Place({demand}, {Asking(1, 1)}), IsEmpty());
  EXPECT_THAT(Place({demand}, {Asking(1, 1), cuda}), ElementsAre(Placement{0, 1}));
}

TEST(Placement, SendsNothingToADrainingWorker) {
  Capacity draining = Asking(2, 2);
  draining.is_draining = true;
  EXPECT_THAT(Place({Single(), Gang(2)}, {draining}), IsEmpty());
}

TEST(WaitingReason, SaysWhatIsMissing) {
  Capacity draining = Busy(4, 4);
  draining.is_draining = true;
  EXPECT_EQ(WaitingReason(Single(), {}), "no worker is connected");
  EXPECT_EQ(WaitingReason({.ranks = 1, .needs_cuda = true}, {Busy(4, 4)}), "no worker has a CUDA device");
  EXPECT_EQ(WaitingReason(Single(), {draining}), "every worker is draining");
  EXPECT_EQ(WaitingReason(Gang(8), {Busy(4, 4)}), "gang needs 8 slots; the largest worker has 4");
  EXPECT_EQ(WaitingReason(Gang(4), {Busy(4, 2), Busy(4, 1)}), "gang needs 4 slots; 2 are free");
  EXPECT_EQ(WaitingReason(Gang(2), {Busy(2, 1)}), "gang needs 2 slots; 1 is free");
  EXPECT_EQ(WaitingReason(Single(), {Busy(4, 0)}), "task needs 1 slot; none is free");
  EXPECT_EQ(WaitingReason(Single(), {Busy(4, 4)}), "waits for its turn");
}

TEST(WaitingKind, IsAWordToCountBy) {
  Capacity draining = Busy(4, 4);
  draining.is_draining = true;
  EXPECT_EQ(WaitingKind(Single(), {}), "no_worker");
  EXPECT_EQ(WaitingKind({.ranks = 1, .needs_cuda = true}, {Busy(4, 4)}), "no_cuda");
  EXPECT_EQ(WaitingKind(Single(), {draining}), "draining");
  EXPECT_EQ(WaitingKind(Gang(8), {Busy(4, 4)}), "too_large");
  EXPECT_EQ(WaitingKind(Gang(4), {Busy(4, 2)}), "slots");
  EXPECT_EQ(WaitingKind(Single(), {Busy(4, 4)}), "turn");
}

}  // namespace
}  // namespace regroup
