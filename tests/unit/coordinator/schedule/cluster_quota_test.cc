// Tests that an owner's tasks use no more slots than its quota allows, and what a waiting job says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ClusterQuotaTest : public ClusterFixture {
 protected:
  ClusterQuotaTest() { (void)cluster_.Register(big_.Registration(), now_); }
  /// Lets the worker ask until it gets nothing more; returns the jobs of the tasks that it got, in order.
  std::vector<std::string> Fill() {
    std::vector<std::string> jobs;
    while (const auto assignment = Ask(big_, big_.slots - static_cast<int>(big_.running.size()))) {
      jobs.push_back(assignment->attempt().job());
    }
    cluster_.StopAsking(big_.id, ticket_);
    return jobs;
  }
  std::string ReasonOf(const std::string& job) { return cluster_.WaitingReasonOf(*cluster_.jobs().Find(job), now_); }
  std::string_view KindOf(const std::string& job) {
    return cluster_.WaitingKindsOf({cluster_.jobs().Find(job)}, now_).front();
  }

  FakeWorker big_{"big", 8};
};

TEST_F(ClusterQuotaTest, LimitsTheSlotsOfEachOwner) {
  cluster_.SetQuotas({.of_owner = {{"alice", {.slots = 2}}}, .of_others = {.slots = 1}});
  for (const char* id : {"a1", "a2", "a3"}) Add(id, SmallSpec(), "alice");
  for (const char* id : {"b1", "b2"}) Add(id, SmallSpec(), "bob");
  for (const char* id : {"n1", "n2"}) Add(id);
  EXPECT_THAT(Fill(), ::testing::UnorderedElementsAre("a1", "a2", "b1", "n1", "n2"));
  EXPECT_EQ(ReasonOf("a3"), "task needs 1 slot; the quota of alice is 2, of which 2 are in use");
  EXPECT_EQ(KindOf("a3"), "quota");
  EXPECT_EQ(KindOf("b2"), "quota");
}

TEST_F(ClusterQuotaTest, CountsAgainWhenATaskEndsOrTheQuotaChanges) {
  cluster_.SetQuotas({.of_others = {.slots = 1}});
  for (const char* id : {"a1", "a2", "a3"}) Add(id, SmallSpec(), "alice");
  EXPECT_THAT(Fill(), ElementsAre("a1"));
  const v1::AttemptId first = big_.running.front();
  ASSERT_TRUE(cluster_.Report(big_.Report(first, FailureOf(v1::FAILURE_CLASS_USER)), now_).ok());
  big_.running.clear();
  Settle();
  EXPECT_THAT(Fill(), ElementsAre("a2"));
  cluster_.SetQuotas({.of_others = {.slots = 0}});
  EXPECT_THAT(Fill(), IsEmpty());
  EXPECT_EQ(big_.running.size(), 1u) << "what runs goes on";
  cluster_.SetQuotas({});
  EXPECT_THAT(Fill(), ElementsAre("a3"));
}

/// The quota of one owner, and tasks of 1 and more ranks in their order.
std::vector<size_t> PlacedOf(const std::vector<int>& ranks, const Budget& budget) {
  std::vector<Demand> demands;
  for (const int count : ranks) demands.push_back({.ranks = count, .budget = 0});
  std::vector<Capacity> workers;
  for (int i = 0; i < 8; ++i) workers.push_back({.slots = 8, .free_slots = 8, .is_asking = true});
  std::vector<size_t> placed;
  for (const Placement& placement : Place(demands, workers, {budget})) placed.push_back(placement.demand);
  return placed;
}

TEST(PlaceWithinABudget, KeepsSmallTasksFromOvertakingAGangThatItWillHold) {
  EXPECT_THAT(PlacedOf({4, 1}, {.slots = 4, .busy = 1}), IsEmpty());
  EXPECT_THAT(PlacedOf({1, 4, 1}, {.slots = 5}), ElementsAre(0, 1));
}

TEST(PlaceWithinABudget, LetsOthersPassAGangThatItNeverHolds) {
  EXPECT_THAT(PlacedOf({8, 1, 1}, {.slots = 2}), ElementsAre(1, 2));
}

TEST(PlaceWithinABudget, CountsOnlyWhatStarts) {
  const std::vector<Demand> demands = {{.ranks = 1, .needs_cuda = true, .budget = 0}, {.ranks = 1, .budget = 0}};
  const std::vector<Capacity> workers = {{.slots = 2, .free_slots = 2, .is_asking = true}};
  EXPECT_THAT(Place(demands, workers, {{.slots = 1}}), ElementsAre(Placement{1, {{0, 1}}}));
}

}  // namespace
}  // namespace regroup
