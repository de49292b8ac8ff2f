#include "services/worker/attempt/rank_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

const AttemptKey kAttempt{"job", "finetune", 2};
constexpr SteadyTime kBoardStart = SteadyTime(seconds(1000));
constexpr seconds kPatience{60};

v1::AttestRequest Attestation(int rank, int world_size, int process_id = 100) {
  v1::AttestRequest request;
  *request.mutable_attempt() = ToProto(kAttempt);
  request.set_rank(rank);
  request.set_world_size(world_size);
  request.set_process_id(process_id + rank);
  request.set_host("node");
  return request;
}

v1::ReportRequest Ticking(int rank, int64_t ticks, const std::string& collective = "") {
  v1::ReportRequest request;
  *request.mutable_attempt() = ToProto(kAttempt);
  request.set_rank(rank);
  request.mutable_activity()->set_ticks(ticks);
  request.mutable_activity()->set_step(12);
  request.mutable_activity()->set_phase("backward");
  request.mutable_activity()->set_collective(collective);
  return request;
}

v1::ReportRequest Ending(int rank, bool failed) {
  v1::ReportRequest request;
  *request.mutable_attempt() = ToProto(kAttempt);
  request.set_rank(rank);
  request.mutable_outcome();
  if (failed) request.mutable_outcome()->mutable_failure()->set_message("rank " + std::to_string(rank));
  return request;
}

class TwoRanks : public testing::Test {
 protected:
  TwoRanks() {
    EXPECT_TRUE(board_.Attest(Attestation(0, 2), kBoardStart).ok());
    EXPECT_TRUE(board_.Attest(Attestation(1, 2), kBoardStart).ok());
  }
  void Tell(const v1::ReportRequest& request, seconds after) {
    EXPECT_TRUE(board_.Report(request, kBoardStart + after).ok());
  }

  RankBoard board_{kAttempt, 2};
};

TEST(RankBoard, CountsTheRanksThatAttest) {
  RankBoard board(kAttempt, 2);
  EXPECT_EQ(board.attested(), 0);
  EXPECT_TRUE(board.Attest(Attestation(1, 2), kBoardStart).ok());
  EXPECT_TRUE(board.Attest(Attestation(1, 2), kBoardStart).ok()) << "a repeated call is harmless";
  EXPECT_EQ(board.attested(), 1);
  EXPECT_EQ(board.refusal(), "");
}

TEST(RankBoard, RefusesAGangThatFellApart) {
  RankBoard board(kAttempt, 2);
  EXPECT_TRUE(absl::IsFailedPrecondition(board.Attest(Attestation(0, 1), kBoardStart)));
  EXPECT_THAT(board.refusal(), HasSubstr("sees 1 ranks where 2 were started"));
}

TEST(RankBoard, RefusesASecondProcessOfTheSameRank) {
  RankBoard board(kAttempt, 2);
  EXPECT_TRUE(board.Attest(Attestation(0, 2, 100), kBoardStart).ok());
  EXPECT_FALSE(board.Attest(Attestation(0, 2, 200), kBoardStart).ok());
  EXPECT_THAT(board.refusal(), HasSubstr("two processes"));
}

TEST(RankBoard, RefusesRanksOutsideTheGangAndOtherEpochs) {
  RankBoard board(kAttempt, 2);
  EXPECT_FALSE(board.Attest(Attestation(2, 2), kBoardStart).ok());
  v1::AttestRequest older = Attestation(0, 2);
  older.mutable_attempt()->set_epoch(1);
  EXPECT_FALSE(board.Attest(older, kBoardStart).ok());
  EXPECT_FALSE(board.Report(Ticking(0, 1), kBoardStart).ok()) << "it has not attested";
  EXPECT_FALSE(board.Report(Ticking(-1, 1), kBoardStart).ok());
}

TEST_F(TwoRanks, TheSuccessOfRankZeroIsTheOutcome) {
  Tell(Ending(1, false), seconds(1));
  EXPECT_FALSE(board_.outcome().has_value());
  Tell(Ending(0, false), seconds(2));
  ASSERT_TRUE(board_.outcome().has_value());
  EXPECT_EQ(board_.outcome_time(), kBoardStart + seconds(2));
}

TEST_F(TwoRanks, AFailureOfAnyRankOutweighsASuccess) {
  Tell(Ending(0, false), seconds(1));
  Tell(Ending(1, true), seconds(2));
  Tell(Ending(0, true), seconds(3));
  EXPECT_EQ(board_.outcome()->failure().message(), "rank 1");
  EXPECT_EQ(board_.outcome_rank(), 1);
}

TEST(RankBoard, TakesReportsOfARankFromItsOwnWorkerOnly) {
  RankBoard board(kAttempt, std::vector<int>{1, 1, 1});
  for (int rank = 0; rank < 3; ++rank) ASSERT_TRUE(board.Attest(Attestation(rank, 3), kBoardStart, rank).ok());
  for (const int member : {0, 2}) {
    const absl::Status refusal = board.Report(Ending(1, true), kBoardStart, member).status();
    EXPECT_EQ(refusal.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refusal.message()), HasSubstr("reported for rank 1, which worker 1 runs"));
  }
  EXPECT_FALSE(board.Report(Ending(0, false), kBoardStart, 1).ok()) << "the success that counts is that of rank 0";
  EXPECT_FALSE(board.outcome().has_value());
  EXPECT_TRUE(board.Report(Ending(1, true), kBoardStart, 1).ok());
  EXPECT_TRUE(board.outcome()->has_failure());
}

TEST_F(TwoRanks, ReportsAnswerWhetherToExit) {
  EXPECT_FALSE(*board_.Report(Ticking(0, 1), kBoardStart));
  board_.Stop();
  EXPECT_TRUE(*board_.Report(Ticking(0, 2), kBoardStart));
}

TEST_F(TwoRanks, ProgressOfAllRanksIsNoHang) {
  Tell(Ticking(0, 1), seconds(50));
  Tell(Ticking(1, 1), seconds(50));
  EXPECT_FALSE(board_.FindHang(kPatience, kBoardStart + seconds(109)));
}

TEST_F(TwoRanks, ReportsWithoutNewTicksAreNoProgress) {
  for (int second = 0; second < 100; ++second) {
    Tell(Ticking(0, second), seconds(second));
    Tell(Ticking(1, 5), seconds(second));
  }
  EXPECT_EQ(board_.FindHang(kPatience, kBoardStart + seconds(99)),
            "rank 1 made no progress for 99 s at step 12 in backward");
}

TEST_F(TwoRanks, ARankThatWaitsForAWorkingOneDoesNotHang) {
  for (int second = 0; second < 200; ++second) Tell(Ticking(0, second), seconds(second));
  Tell(Ticking(1, 1, "all_reduce #3"), seconds(10));
  EXPECT_FALSE(board_.FindHang(kPatience, kBoardStart + seconds(199)));
}

TEST_F(TwoRanks, TheRankOutsideTheCollectiveIsToBlame) {
  Tell(Ticking(0, 1, "all_reduce #3"), seconds(10));
  Tell(Ticking(1, 1), seconds(20));
  EXPECT_THAT(board_.FindHang(kPatience, kBoardStart + seconds(85)).value_or(""),
              HasSubstr("rank 1 made no progress for 65 s"));
}

TEST_F(TwoRanks, AllWaitingInCollectivesIsADeadlock) {
  Tell(Ticking(0, 1, "all_reduce #3"), seconds(10));
  Tell(Ticking(1, 1, "broadcast #4"), seconds(20));
  EXPECT_EQ(board_.FindHang(kPatience, kBoardStart + seconds(85)),
            "rank 0 made no progress for 75 s at step 12 in backward, waiting in all_reduce #3");
}

TEST_F(TwoRanks, AProcessStoppedInsideACollectiveIsToBlameThoughTheOtherEnteredItFirst) {
  for (int second = 10; second < 85; ++second) Tell(Ticking(0, 1, "all_reduce #3"), seconds(second));
  Tell(Ticking(1, 1, "all_reduce #3"), seconds(20));
  EXPECT_EQ(board_.FindHang(kPatience, kBoardStart + seconds(85)),
            "rank 1 made no progress for 65 s at step 12 in backward, waiting in all_reduce #3");
}

TEST_F(TwoRanks, SilenceAfterAttestingIsAHang) {
  EXPECT_FALSE(board_.FindHang(kPatience, kBoardStart + seconds(59)));
  EXPECT_TRUE(board_.FindHang(kPatience, kBoardStart + seconds(60)));
}

TEST(SpreadRankBoard, RefusesARankOnAnotherWorkerThanPromised) {
  RankBoard board(kAttempt, std::vector<int>{2, 2});
  EXPECT_TRUE(board.Attest(Attestation(1, 4), kBoardStart, 0).ok());
  EXPECT_EQ(board.FirstMissingMember(), 0);
  EXPECT_TRUE(board.Attest(Attestation(0, 4), kBoardStart, 0).ok());
  EXPECT_EQ(board.FirstMissingMember(), 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(board.Attest(Attestation(2, 4), kBoardStart, 0)));
  EXPECT_EQ(board.refusal(), "rank 2 runs on worker 0 of the gang instead of worker 1");
}

TEST(SpreadRankBoard, KnowsWhenAllAreThere) {
  RankBoard board(kAttempt, std::vector<int>{1, 1});
  for (const int rank : {0, 1}) EXPECT_TRUE(board.Attest(Attestation(rank, 2), kBoardStart, rank).ok());
  EXPECT_EQ(board.FirstMissingMember(), std::nullopt);
}

}  // namespace
}  // namespace regroup
