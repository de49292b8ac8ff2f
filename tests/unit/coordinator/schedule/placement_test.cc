#include "coordinator/schedule/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

Capacity Asking(int slots, int free_slots) { return {.slots = slots, .free_slots = free_slots, .is_asking = true}; }
Capacity Busy(int slots, int free_slots) { return {.slots = slots, .free_slots = free_slots}; }
Demand Gang(int ranks) { return {.ranks = ranks}; }
Demand Single() { return {.ranks = 1}; }
/// A worker that other workers can reach.
Capacity Sharing(int slots, int free_slots) {
  return {.slots = slots, .free_slots = free_slots, .is_asking = true, .can_share = true};
}
auto On(size_t demand, size_t worker) {
  return AllOf(Field(&Placement::demand, demand),
               Field(&Placement::shares, ElementsAre(Field(&Share::worker, worker))));
}

TEST(Placement, GivesTheFirstTaskToTheFullestWorkerThatHoldsIt) {
  EXPECT_THAT(Place({Single()}, {Asking(4, 4), Asking(4, 1), Asking(4, 2)}), ElementsAre(On(0, 1)));
}

TEST(Placement, GivesEachAskingWorkerOneTaskAtATime) {
  EXPECT_THAT(Place({Single(), Single()}, {Asking(4, 4)}), ElementsAre(On(0, 0)));
}

TEST(Placement, GivesNothingToAWorkerThatDoesNotAsk) { EXPECT_THAT(Place({Single()}, {Busy(4, 4)}), IsEmpty()); }

TEST(Placement, NeverSplitsAGangOverWorkersThatCannotReachOneAnother) {
  EXPECT_THAT(Place({Gang(2)}, {Asking(1, 1), Asking(1, 1)}), IsEmpty());
  EXPECT_THAT(Place({Gang(2)}, {Asking(2, 1), Asking(2, 2)}), ElementsAre(On(0, 1)));
}

TEST(Placement, KeepsSmallTasksOffTheWorkerThatAGangWaitsFor) {
  // The gang of 4 fits only the first worker, which is half busy.
  EXPECT_THAT(Place({Gang(4), Single()}, {Asking(4, 2), Asking(1, 1)}), ElementsAre(On(1, 1)));
  EXPECT_THAT(Place({Gang(4), Single()}, {Asking(4, 2)}), IsEmpty());
}

TEST(Placement, LetsTasksOfHigherPrecedenceGoBeforeTheGang) {
  EXPECT_THAT(Place({Single(), Gang(4)}, {Asking(4, 2)}), ElementsAre(On(0, 0)));
}

TEST(Placement, ReservesNothingForAGangThatNoWorkerCanEverHold) {
  EXPECT_THAT(Place({Gang(8), Single()}, {Asking(4, 2)}), ElementsAre(On(1, 0)));
}

TEST(Placement, ReservesTheEmptiestWorkerThatCouldHoldTheGang) {
  EXPECT_THAT(Place({Gang(4), Single()}, {Asking(4, 1), Asking(4, 3)}), ElementsAre(On(1, 0)));
}

TEST(Placement, ShrinksAGangOnlyIfNoWorkerCanEverHoldAllOfIt) {
  const Demand elastic = {.ranks = 4, .smaller = {3, 2}};
  EXPECT_THAT(Place({elastic}, {Asking(3, 3)}), ElementsAre(Field(&Placement::shares, ElementsAre(Share{0, 3}))));
  EXPECT_THAT(Place({elastic}, {Asking(2, 2)}), ElementsAre(Field(&Placement::shares, ElementsAre(Share{0, 2}))));
  EXPECT_THAT(Place({elastic}, {Asking(1, 1)}), IsEmpty());
  EXPECT_THAT(Place({elastic}, {Asking(4, 3)}), IsEmpty()) << "its fourth slot will be free again";
}

TEST(Placement, SpreadsAShrunkGang) {
  const Demand elastic = {.ranks = 8, .smaller = {4}};
  EXPECT_THAT(Place({elastic}, {Sharing(2, 2), Sharing(2, 2)}),
              ElementsAre(Field(&Placement::shares, ElementsAre(Share{0, 2}, Share{1, 2}))));
}

TEST(Placement, WaitsForTheSlotsOfAShrunkGang) {
  const Demand elastic = {.ranks = 4, .smaller = {2}};
  EXPECT_THAT(Place({elastic, Single()}, {Asking(2, 1)}), IsEmpty()) << "the worker is reserved";
  EXPECT_EQ(WaitingReason(elastic, {Asking(2, 1)}), "gang needs 2 slots; 1 is free");
  EXPECT_EQ(WaitingReason(elastic, {Asking(1, 1)}), "gang needs 4 slots; the largest worker has 1");
}

TEST(Placement, SpreadsAGangForWhichNoWorkerIsLargeEnough) {
  EXPECT_THAT(Place({Gang(4)}, {Sharing(2, 2), Sharing(2, 2)}), ElementsAre(Placement{0, {{0, 2}, {1, 2}}}));
  EXPECT_THAT(Place({Gang(3)}, {Sharing(2, 1), Sharing(2, 2)}), ElementsAre(Placement{0, {{1, 2}, {0, 1}}}));
}

TEST(Placement, SpreadsOverAsFewWorkersAsPossible) {
  EXPECT_THAT(Place({Gang(5)}, {Sharing(1, 1), Sharing(3, 3), Sharing(1, 1), Sharing(4, 4)}),
              ElementsAre(Placement{0, {{3, 4}, {1, 1}}}));
}

TEST(Placement, KeepsAGangTogetherWhereAWorkerIsLargeEnoughThoughItIsBusy) {
  EXPECT_THAT(Place({Gang(2)}, {Sharing(2, 1), Sharing(1, 1)}), IsEmpty());
}

TEST(Placement, StartsAllOfASpreadGangOrNothing) {
  Capacity silent = Sharing(2, 2);
  silent.is_asking = false;
  EXPECT_THAT(Place({Gang(4)}, {Sharing(2, 2), silent}), IsEmpty());
  EXPECT_THAT(Place({Gang(4)}, {Sharing(2, 2), Sharing(2, 1)}), IsEmpty());
  EXPECT_THAT(Place({Gang(4)}, {Sharing(2, 2), Asking(2, 2)}), IsEmpty());
  EXPECT_THAT(Place({Gang(8)}, {Sharing(2, 2), Sharing(2, 2)}), IsEmpty());
}

TEST(Placement, KeepsSmallTasksOffTheWorkersThatASpreadGangWaitsFor) {
  EXPECT_THAT(Place({Gang(4), Single()}, {Sharing(2, 2), Sharing(2, 1)}), IsEmpty());
  EXPECT_THAT(Place({Gang(4), Single()}, {Sharing(2, 2), Sharing(2, 1), Asking(1, 1)}), ElementsAre(On(1, 2)));
  EXPECT_THAT(Place({Gang(8), Single()}, {Sharing(2, 2), Sharing(2, 1)}), ElementsAre(On(1, 1)));
}

TEST(Placement, PrefersAnyOtherWorkerToTheDislikedOne) {
  Demand demand = Single();
  demand.disliked = 0;
  EXPECT_THAT(Place({demand}, {Asking(4, 1), Asking(4, 4)}), ElementsAre(On(0, 1)));
  demand.disliked = 1;
  EXPECT_THAT(Place({demand}, {Asking(4, 4), Asking(4, 1)}), ElementsAre(On(0, 0)));
  // It does not wait for one that is busy.
  EXPECT_THAT(Place({demand}, {Busy(4, 0), Asking(4, 1)}), ElementsAre(On(0, 1)));
}

TEST(Placement, SendsCudaTasksToCudaWorkersOnly) {
  Capacity cuda = Asking(1, 1);
  cuda.has_cuda = true;
  const Demand demand{.ranks = 1, .needs_cuda = true};
  EXPECT_THAT(Place({demand}, {Asking(1, 1)}), IsEmpty());
  EXPECT_THAT(Place({demand}, {Asking(1, 1), cuda}), ElementsAre(On(0, 1)));
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
  EXPECT_EQ(WaitingReason(Gang(4), {Sharing(2, 2), Sharing(2, 1)}), "gang needs 4 slots; 3 are free");
  EXPECT_EQ(WaitingReason(Gang(4), {Sharing(2, 2), Sharing(2, 2)}), "waits for its turn");
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
