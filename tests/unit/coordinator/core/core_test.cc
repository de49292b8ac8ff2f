// Tests the core thread without gRPC: many callers at once, and the effect of a failed commit on them.
#include "coordinator/core/core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <set>

#include "coordinator/api/stream_pump.h"
#include "coordinator/store/sqlite_job_store.h"
#include "tests/unit/coordinator/api/faulty_job_store.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

class CoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "core_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    store_ = std::make_unique<FaultyJobStore>(SqliteJobStore::Open({.path = folder_ / "regroup.db"}).value());
    core_ = std::make_unique<Core>(ClusterOptions{}, store_.get(), &feeds_, &metrics_, SystemClocks());
    ASSERT_TRUE(core_->Recover().ok());
    core_->Start();
  }
  void TearDown() override {
    core_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  absl::Status Change(Core::Apply apply) {
    auto done = std::make_shared<std::promise<absl::Status>>();
    core_->Change(std::move(apply), [done](const absl::Status& status, const Turn&) { done->set_value(status); });
    return done->get_future().get();
  }
  absl::Status Add(const std::string& id) {
    return Change([id](Turn& turn) {
      turn.cluster.AddJob(MakeJob(id, SmallSpec(), turn.now));
      return absl::OkStatus();
    });
  }
  void Register(const FakeWorker& worker) {
    ASSERT_TRUE(Change([&worker](Turn& turn) {
                  turn.cluster.Register(worker.Registration(), turn.now);
                  return absl::OkStatus();
                }).ok());
  }
  using Assigned = std::pair<absl::Status, std::optional<v1::TaskAssignment>>;
  std::future<Assigned> Acquire(const FakeWorker& worker, uint64_t* ticket = nullptr) {
    auto done = std::make_shared<std::promise<Assigned>>();
    const uint64_t number =
        core_->Acquire(worker.Acquire(worker.slots), [done](const absl::Status& status, const auto& assignment) {
          done->set_value({status, assignment});
        });
    if (ticket != nullptr) *ticket = number;
    return done->get_future();
  }

  std::filesystem::path folder_;
  std::unique_ptr<FaultyJobStore> store_;
  JobFeeds feeds_;
  CoordinatorMetrics metrics_;
  std::unique_ptr<Core> core_;
};

TEST_F(CoreTest, AnswersEveryOneOfManyCallers) {
  constexpr int kCallers = 8;
  constexpr int kJobsEach = 25;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([this, caller] {
      for (int job = 0; job < kJobsEach; ++job) {
        EXPECT_TRUE(Add("job-" + std::to_string(caller) + "-" + std::to_string(job)).ok());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(store_->LoadUnfinished()->size(), static_cast<size_t>(kCallers * kJobsEach));
}

TEST_F(CoreTest, GivesEachTaskToOneOfManyAskingWorkers) {
  constexpr int kWorkers = 8;
  for (int job = 0; job < kWorkers; ++job) ASSERT_TRUE(Add("job-" + std::to_string(job)).ok());
  std::vector<std::string> given(kWorkers);
  std::vector<std::thread> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.emplace_back([this, i, &given] {
      const FakeWorker worker("w" + std::to_string(i));
      Register(worker);
      given[static_cast<size_t>(i)] = Acquire(worker).get().second->attempt().job();
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(std::set<std::string>(given.begin(), given.end()).size(), static_cast<size_t>(kWorkers));
}

TEST_F(CoreTest, TellsACallerThatGaveUpWaiting) {
  const FakeWorker worker("w1");
  Register(worker);
  uint64_t ticket = 0;
  std::future<Assigned> waiting = Acquire(worker, &ticket);
  core_->StopWaiting("w1", ticket);
  EXPECT_EQ(waiting.get().first.code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(Add("a").ok());
  EXPECT_TRUE(Acquire(worker).get().second) << "the task was not given to the one that gave up";
}

TEST_F(CoreTest, EndsAllWaitsWhenToldTo) {
  const FakeWorker worker("w1");
  Register(worker);
  std::future<Assigned> waiting = Acquire(worker);
  core_->EndWaits();
  EXPECT_EQ(waiting.get().first.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Acquire(worker).get().first.code(), absl::StatusCode::kUnavailable);
}

TEST_F(CoreTest, ForgetsARegistrationThatWasNotStored) {
  const FakeWorker worker("w1");
  store_->FailCommits(true);
  EXPECT_EQ(ReasonOf(Change([&worker](Turn& turn) {
              turn.cluster.Register(worker.Registration(), turn.now);
              return absl::OkStatus();
            })),
            v1::STORE_UNAVAILABLE);
  store_->FailCommits(false);
  EXPECT_EQ(ReasonOf(Acquire(worker).get().first), v1::WORKER_NOT_REGISTERED);
  Register(worker);
  ASSERT_TRUE(Add("a").ok());
  EXPECT_TRUE(Acquire(worker).get().second);
}

TEST_F(CoreTest, WakesOnlyThoseWhoFollowTheJobThatChanged) {
  std::promise<void> woken;
  std::atomic<int> other = 0;
  {
    const auto subscription = feeds_.Subscribe(
        "a", [&, first = std::make_shared<std::once_flag>()] { std::call_once(*first, [&] { woken.set_value(); }); });
    const auto unrelated = feeds_.Subscribe("b", [&] { ++other; });
    ASSERT_TRUE(Add("a").ok());
    woken.get_future().get();
  }
  EXPECT_EQ(other, 0);
  EXPECT_THAT(feeds_.Subscribed(), ::testing::IsEmpty());
}

/// Counts how often it was advanced, and checks that calls do not overlap.
struct CountingStream : PumpedStream {
  void Advance() override {
    EXPECT_FALSE(busy.exchange(true));
    ++advanced;
    busy = false;
  }
  void End(const absl::Status& status) override { ended = status; }

  std::atomic<bool> busy = false;
  std::atomic<int> advanced = 0;
  absl::Status ended;
};

TEST(StreamPump, NeverLosesAWakeAndNeverAdvancesAStreamTwiceAtOnce) {
  auto stream = std::make_shared<CountingStream>();
  std::atomic<int> last_seen = 0;
  {
    StreamPump pump(StreamLimits{});
    ASSERT_TRUE(pump.Add(stream, "").ok());
    std::vector<std::thread> wakers;
    for (int i = 0; i < 4; ++i) {
      wakers.emplace_back([&] {
        for (int wake = 0; wake < 1000; ++wake) pump.Wake(stream);
      });
    }
    for (std::thread& waker : wakers) waker.join();
    last_seen = stream->advanced.load();
    pump.Wake(stream);
  }
  EXPECT_GT(stream->advanced, 0);
  EXPECT_LE(stream->advanced, 4001);
  EXPECT_GE(stream->advanced, last_seen);
}

TEST(StreamPump, RefusesMoreStreamsThanItMayHave) {
  StreamPump pump({.streams = 1, .per_caller = 1});
  const auto first = std::make_shared<CountingStream>();
  EXPECT_TRUE(pump.Add(first, "").ok());
  EXPECT_FALSE(pump.Add(std::make_shared<CountingStream>(), "").ok());
  pump.Remove(first);
  EXPECT_TRUE(pump.Add(std::make_shared<CountingStream>(), "").ok());
}

TEST(StreamPump, EndsItsStreamsAndTakesNoMore) {
  const auto stream = std::make_shared<CountingStream>();
  {
    StreamPump pump(StreamLimits{});
    ASSERT_TRUE(pump.Add(stream, "").ok());
    pump.EndStreams();
    EXPECT_FALSE(pump.Add(std::make_shared<CountingStream>(), "").ok());
  }
  EXPECT_EQ(stream->ended.code(), absl::StatusCode::kUnavailable);
  EXPECT_GT(stream->advanced, 0);
}

}  // namespace
}  // namespace regroup
