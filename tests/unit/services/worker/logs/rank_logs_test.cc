#include "services/worker/logs/rank_logs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

using testing::UnorderedElementsAre;

void Write(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::app) << text;
}

TEST(RankLogs, TagsEachLineWithTheRankWhoseFileItStandsIn) {
  TemporaryFolder folder;
  LogCollector collector({"j", "t", 1}, "w");
  RankLogs logs(folder.path(), 12, &collector);
  logs.Forward();
  Write(folder.path() / "rank.00" / "stdout", "from zero\n");
  Write(folder.path() / "rank.11" / "stderr", "from eleven\nunfinished");
  Write(folder.path() / "rank.x" / "stdout", "not a rank\n");
  logs.Forward();
  logs.ForwardRest();
  EXPECT_THAT(collector.Tail(),
              UnorderedElementsAre("rank 0: from zero", "rank 11: from eleven", "rank 11: unfinished"));
}

TEST(RankLogs, KeepsWhatMpirunSaysApartFromItsRanks) {
  TemporaryFolder folder;
  LogCollector collector({"j", "t", 1}, "w");
  RankLogs logs(folder.path(), 2, &collector);
  Write(folder.path() / "mpirun" / "stderr", "-------\nprocess rank 1 exited on signal 9\n-------\n");
  Write(folder.path() / "rank.0" / "stderr", "process rank 0 is well\n");
  logs.ForwardRest();
  EXPECT_EQ(logs.launcher_output(), "process rank 1 exited on signal 9\n");
}

}  // namespace
}  // namespace regroup
