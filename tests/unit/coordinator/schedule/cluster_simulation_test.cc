#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/unit/coordinator/schedule/simulation.h"

namespace regroup {
namespace {

using ::testing::IsEmpty;

/// Returns the number of lives: REGROUP_TEST_SEEDS, or 2000.
uint32_t Seeds() {
  const char* asked = std::getenv("REGROUP_TEST_SEEDS");
  return asked == nullptr ? 2000 : static_cast<uint32_t>(std::stoul(asked));
}

TEST(ClusterSimulation, KeepsItsPromisesInEveryLife) {
  const uint32_t seeds = Seeds();
  std::map<v1::JobState, int> ends;
  int late_cancels = 0;
  int moves = 0;
  int layerwise_moves = 0;
  int shrunk = 0;
  int paused = 0;
  int gave_way = 0;
  for (uint32_t seed = 1; seed <= seeds; ++seed) {
    Simulation simulation(seed);
    simulation.Run();
    ASSERT_THAT(simulation.violations(), IsEmpty()) << "seed " << seed;
    for (const auto& [state, count] : simulation.ends()) ends[state] += count;
    late_cancels += simulation.late_cancels();
    moves += simulation.moves();
    layerwise_moves += simulation.layerwise_moves();
    shrunk += simulation.shrunk();
    paused += simulation.paused();
    gave_way += simulation.gave_way();
  }
  // Lives in which nothing succeeds or nothing fails would test little.
  for (const v1::JobState state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}) {
    EXPECT_GT(ends[state], static_cast<int>(seeds) / 10) << v1::JobState_Name(state);
  }
  EXPECT_GT(late_cancels, 0);
  EXPECT_GT(moves, static_cast<int>(seeds) / 10);
  EXPECT_GT(layerwise_moves, static_cast<int>(seeds) / 20);
  EXPECT_GT(shrunk, static_cast<int>(seeds) / 200);
  EXPECT_GT(paused, static_cast<int>(seeds) / 10);
  EXPECT_GT(gave_way, static_cast<int>(seeds) / 10);
}

/// A defect, and the promise that detects it.
struct Noticed {
  const char* name;
  Defect defect;
  const char* promise;
};

class DefectiveCluster : public ::testing::TestWithParam<Noticed> {};

TEST_P(DefectiveCluster, IsNoticed) {
  constexpr uint32_t kSeedsForDefects = 600;
  for (uint32_t seed = 1; seed <= kSeedsForDefects; ++seed) {
    Simulation simulation(seed, GetParam().defect);
    simulation.Run();
    if (simulation.violations().empty()) continue;
    EXPECT_THAT(simulation.violations().front(), ::testing::HasSubstr(GetParam().promise)) << "seed " << seed;
    return;
  }
  FAIL() << "no life of " << kSeedsForDefects << " noticed it";
}

INSTANTIATE_TEST_SUITE_P(
    All, DefectiveCluster,
    ::testing::Values(Noticed{"AnswersBeforeTheCommit", Defect::kAnswersBeforeTheCommit, "one process"},
                      Noticed{"KeepsWhatWasNotStored", Defect::kKeepsWhatWasNotStored, ""},
                      Noticed{"AcceptsOldEpochs", Defect::kAcceptsOldEpochs, "old epoch"},
                      Noticed{"ForgetsEpochs", Defect::kForgetsEpochs, "epochs"},
                      Noticed{"StartsAgainWhatMayRun", Defect::kStartsAgainWhatMayRun, "one "},
                      Noticed{"EndsLeasesEarly", Defect::kEndsLeasesEarly, "one process"},
                      Noticed{"RetriesFinishedTasks", Defect::kRetriesFinishedTasks, "applied once"},
                      Noticed{"LosesRevisions", Defect::kLosesRevisions, "revision"},
                      Noticed{"OverbooksWorkers", Defect::kOverbooksWorkers, "slots"},
                      Noticed{"ForgetsPermissionToPublish", Defect::kForgetsPermissionToPublish, ""},
                      Noticed{"GivesTasksToDrainingWorkers", Defect::kGivesTasksToDrainingWorkers, "draining"},
                      Noticed{"DoesNotWaitForSlowWorkers", Defect::kDoesNotWaitForSlowWorkers, "one process"},
                      Noticed{"TrustsItsOwnList", Defect::kTrustsItsOwnList, ""},
                      Noticed{"AcceptsAnyIncarnation", Defect::kAcceptsAnyIncarnation, "its own worker only"},
                      Noticed{"AcceptsAnyWorker", Defect::kAcceptsAnyWorker, "its own worker only"},
                      Noticed{"AcceptsProgressOfAnyWorker", Defect::kAcceptsProgressOfAnyWorker, "progress"},
                      Noticed{"ForgetsDigests", Defect::kForgetsDigests, "applied once"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace regroup
