// Tests which training gives way to which waiting task.
#include "coordinator/schedule/preemption.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Capacity Worker(int slots, int free_slots) { return {.slots = slots, .free_slots = free_slots}; }

Interruptible Training(int priority, std::vector<Share> shares, int started_s = 0, const std::string& owner = "alice") {
  return {.owner = owner,
          .priority = priority,
          .started = Time(std::chrono::seconds(started_s)),
          .shares = std::move(shares)};
}

std::vector<size_t> Losers(int priority, const Demand& demand, const std::vector<Interruptible>& running,
                           const std::vector<Capacity>& workers, const std::vector<Budget>& budgets = {}) {
  return WhoGivesWay("alice", priority, {demand}, running, workers, budgets);
}

TEST(Preemption, TakesTheLowestPriorityAndOfEqualOnesTheOneThatStartedLast) {
  const std::vector<Interruptible> running = {Training(1, {{0, 1}}), Training(0, {{0, 1}}, 5),
                                              Training(0, {{0, 1}}, 9)};
  EXPECT_THAT(Losers(2, {.ranks = 1}, running, {Worker(3, 0)}), ElementsAre(2));
  EXPECT_THAT(Losers(2, {.ranks = 3}, running, {Worker(3, 0)}), ElementsAre(2, 1, 0));
}

TEST(Preemption, NeverTakesAnEqualPriorityOrAnotherOwnersJob) {
  EXPECT_THAT(Losers(1, {.ranks = 1}, {Training(1, {{0, 1}})}, {Worker(1, 0)}), IsEmpty());
  EXPECT_THAT(Losers(1, {.ranks = 1}, {Training(0, {{0, 1}}, 0, "bob")}, {Worker(1, 0)}), IsEmpty());
}

TEST(Preemption, TakesNothingInVain) {
  const std::vector<Interruptible> running = {Training(0, {{0, 1}})};
  EXPECT_THAT(Losers(1, {.ranks = 2}, running, {Worker(2, 0)}), IsEmpty()) << "it would free too little";
  EXPECT_THAT(Losers(1, {.ranks = 1, .needs_cuda = true}, running, {Worker(1, 0)}), IsEmpty());
  EXPECT_THAT(Losers(1, {.ranks = 1}, running, {Worker(2, 1)}), IsEmpty()) << "a slot is free already";
}

TEST(Preemption, LeavesAloneWhatRunsOnAnotherWorker) {
  const std::vector<Interruptible> running = {Training(0, {{0, 1}}), Training(1, {{1, 2}})};
  EXPECT_THAT(Losers(2, {.ranks = 2}, running, {Worker(1, 0), Worker(2, 0)}), ElementsAre(1));
}

TEST(Preemption, TakesNothingForATaskBehindAnotherOneThatWouldTakeTheSlots) {
  const std::vector<Interruptible> running = {Training(0, {{0, 2}})};
  const std::vector<Budget> budgets = {{.slots = 1, .busy = 1}};
  EXPECT_THAT(WhoGivesWay("alice", 1, {{.ranks = 1}, {.ranks = 2}}, running, {Worker(2, 0)}, {}), IsEmpty());
  // Those before it cannot use what comes free: one lacks a GPU, the other is beyond its owner's quota.
  const std::vector<Demand> demands = {{.ranks = 1, .needs_cuda = true}, {.ranks = 1, .budget = 0}, {.ranks = 2}};
  EXPECT_THAT(WhoGivesWay("alice", 1, demands, running, {Worker(2, 0)}, budgets), ElementsAre(0));
}

TEST(Preemption, FreesTheOwnersQuota) {
  const std::vector<Interruptible> running = {Training(0, {{0, 2}})};
  const std::vector<Budget> budgets = {{.slots = 2, .busy = 2}};
  EXPECT_THAT(Losers(1, {.ranks = 2, .budget = 0}, running, {Worker(8, 6)}, budgets), ElementsAre(0));
  EXPECT_THAT(Losers(1, {.ranks = 3, .budget = 0}, running, {Worker(8, 6)}, budgets), IsEmpty());
}

}  // namespace
}  // namespace regroup
