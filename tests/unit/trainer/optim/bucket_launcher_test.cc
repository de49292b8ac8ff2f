#include "trainer/optim/bucket_launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

#include "trainer/parallel/side_lane.h"

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class BucketLauncherTest : public testing::Test {
 protected:
  std::vector<size_t> launched_;
  /// Buckets of 2, 1 and 1 gradients.
  BucketLauncher launcher_{{2, 1, 1}, [this](size_t bucket) { launched_.push_back(bucket); }};
};

TEST_F(BucketLauncherTest, LaunchesABucketWithItsLastGradient) {
  launcher_.Arm();
  launcher_.NoteGradient(0);
  EXPECT_THAT(launched_, IsEmpty());
  launcher_.NoteGradient(0);
  EXPECT_THAT(launched_, ElementsAre(0));
}

TEST_F(BucketLauncherTest, KeepsItsOrderWhateverIsCompleteFirst) {
  launcher_.Arm();
  launcher_.NoteGradient(2);
  launcher_.NoteGradient(0);
  launcher_.NoteGradient(1);
  EXPECT_THAT(launched_, IsEmpty());
  launcher_.NoteGradient(0);
  EXPECT_THAT(launched_, ElementsAre(0, 1, 2));
}

TEST_F(BucketLauncherTest, LaunchesTheRestInTheEnd) {
  launcher_.Arm();
  launcher_.NoteGradient(0);
  launcher_.NoteGradient(0);
  launcher_.NoteGradient(2);
  EXPECT_TRUE(launcher_.LaunchRest());
  EXPECT_THAT(launched_, ElementsAre(0, 1, 2));
  EXPECT_FALSE(launcher_.armed());
}

TEST_F(BucketLauncherTest, CountsOnlyWhileArmed) {
  launcher_.NoteGradient(0);
  launcher_.NoteGradient(0);
  EXPECT_THAT(launched_, IsEmpty());
  launcher_.Arm();
  launcher_.NoteGradient(0);
  EXPECT_THAT(launched_, IsEmpty());
}

TEST_F(BucketLauncherTest, NoticesAGradientThatChangesAfterItsBucketHasGone) {
  for (const bool late : {true, false}) {
    launcher_.Arm();
    launcher_.NoteGradient(0);
    launcher_.NoteGradient(0);
    if (late) launcher_.NoteGradient(0);
    EXPECT_EQ(launcher_.LaunchRest(), !late);
  }
}

TEST(ThreadLaneTest, RunsCallsInOrderBesideTheCaller) {
  const auto lane = MakeThreadLane();
  std::vector<int> done;
  const std::thread::id caller = std::this_thread::get_id();
  for (int i = 0; i < 5; ++i) {
    lane->Launch([&done, i, caller] {
      EXPECT_NE(std::this_thread::get_id(), caller);
      done.push_back(i);
      return absl::OkStatus();
    });
  }
  EXPECT_TRUE(lane->Finish().ok());
  EXPECT_THAT(done, ElementsAre(0, 1, 2, 3, 4));
}

TEST(ThreadLaneTest, StopsAtTheFirstFailureAndKeepsIt) {
  const auto lane = MakeThreadLane();
  int runs = 0;
  const auto call = [&runs](absl::Status status) {
    return [&runs, status] {
      ++runs;
      return status;
    };
  };
  lane->Launch(call(absl::OkStatus()));
  lane->Launch(call(absl::UnavailableError("a rank is gone")));
  lane->Launch(call(absl::OkStatus()));
  EXPECT_EQ(lane->Finish().message(), "a rank is gone");
  lane->Launch([] { return absl::OkStatus(); });
  EXPECT_EQ(lane->Finish().message(), "a rank is gone");
  EXPECT_EQ(runs, 2);
}

TEST(ThreadLaneTest, WaitsForTheCallsBeforeAMarkAndNotForLaterOnes) {
  const auto lane = MakeThreadLane();
  std::promise<void> may_end;
  bool done = false;
  lane->Launch([&done] {
    done = true;
    return absl::OkStatus();
  });
  const int64_t mark = lane->Mark();
  lane->Launch([&may_end] {
    may_end.get_future().wait();
    return absl::OkStatus();
  });
  lane->WaitFor(mark);
  EXPECT_TRUE(done);
  may_end.set_value();
  EXPECT_TRUE(lane->Finish().ok());
}

TEST(ThreadLaneTest, WaitingForAMarkBehindAFailureEnds) {
  const auto lane = MakeThreadLane();
  lane->Launch([] { return absl::UnavailableError("a rank is gone"); });
  lane->Launch([] { return absl::OkStatus(); });
  lane->WaitFor(lane->Mark());
  EXPECT_EQ(lane->Finish().message(), "a rank is gone");
}

TEST(ThreadLaneTest, AnExceptionIsAFailure) {
  const auto lane = MakeThreadLane();
  lane->Launch([]() -> absl::Status { throw std::runtime_error("no such tensor"); });
  EXPECT_EQ(lane->Finish().message(), "no such tensor");
}

}  // namespace
}  // namespace regroup
