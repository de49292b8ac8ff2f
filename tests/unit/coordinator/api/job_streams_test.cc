// Tests what watchers and readers of logs and metrics receive, at any reading speed.
#include <atomic>
#include <thread>

#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

TEST_F(CoordinatorTest, ShowsWatchersEveryRevisionOnceAndInOrder) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  std::vector<v1::JobEvent> events;
  std::thread watcher([&] { events = WatchToTheEnd("jobs/small-1"); });
  while (RunOne(w1_) != "report") {
  }
  watcher.join();
  ASSERT_TRUE(stream_status_.ok()) << stream_status_;
  std::erase_if(events, [](const v1::JobEvent& event) { return event.progress_only(); });
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().job().state(), v1::JOB_STATE_SUCCEEDED);
  for (size_t i = 1; i < events.size(); ++i) {
    EXPECT_EQ(events[i].job().revision(), events[i - 1].job().revision() + 1);
    EXPECT_FALSE(events[i].gap());
  }
}

TEST_F(CoordinatorTest, ResumesAWatchAfterTheLastEventAlsoAfterARestart) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  RunOne(w1_);
  ASSERT_TRUE(Cancel("jobs/small-1").ok());
  const std::vector<v1::JobEvent> whole = WatchToTheEnd("jobs/small-1", "r1");
  ASSERT_EQ(whole.size(), 3u);
  Start();
  const std::vector<v1::JobEvent> rest = WatchToTheEnd("jobs/small-1", whole[1].resume_token());
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].SerializeAsString(), whole[2].SerializeAsString());
}

TEST_F(CoordinatorTest, TellsAWatcherThatItMissedRevisions) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Cancel("jobs/small-1").ok());
  const auto events = WatchToTheEnd("jobs/small-1", "r77");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].gap());
  EXPECT_EQ(events[0].job().tasks_size(), 1);
}

TEST_F(CoordinatorTest, TellsWatchersAboutProgressAndWaiting) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  std::atomic<bool> saw_progress = false;
  std::thread watcher([&] {
    v1::WatchJobRequest request;
    request.set_name("jobs/small-1");
    grpc::ClientContext context;
    const auto reader = jobs_->WatchJob(&context, request);
    v1::JobEvent event;
    while (reader->Read(&event)) {
      if (event.progress_only() && event.job().tasks_size() == 1 && event.job().tasks(0).progress().done() == 7) break;
    }
    saw_progress = true;
    context.TryCancel();
  });
  v1::AttemptReport report;
  *report.mutable_attempt() = attempt;
  report.mutable_progress()->set_phase("tensors");
  report.mutable_progress()->set_done(7);
  ASSERT_TRUE(Push(w1_, report).ok());
  watcher.join();
  EXPECT_TRUE(saw_progress);
  EXPECT_EQ(Get("jobs/small-1")->tasks(0).progress().done(), 7);
}

TEST_F(CoordinatorTest, StreamsLogsAndMetricsWhileTheJobRunsAndEndsWithIt) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  const auto push = [&](const std::string& message, int64_t step) {
    v1::AttemptReport report;
    *report.mutable_attempt() = attempt;
    report.add_logs()->set_message(message);
    v1::MetricPoint* point = report.add_metrics();
    point->set_metric("loss");
    point->set_step(step);
    point->set_value(2.5);
    ASSERT_TRUE(Push(w1_, report).ok());
  };
  push("before", 1);
  v1::StreamLogsRequest logs;
  logs.set_name("jobs/small-1");
  logs.set_follow(true);
  v1::StreamMetricsRequest metrics;
  metrics.set_name("jobs/small-1");
  metrics.set_follow(true);
  std::vector<v1::LogEntry> lines;
  std::vector<v1::MetricPoint> points;
  std::thread log_reader([&] {
    lines = ReadAll<v1::LogEntry>([&](grpc::ClientContext* context) { return jobs_->StreamLogs(context, logs); });
  });
  push("after", 2);
  ASSERT_TRUE(Report(w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER))).ok());
  log_reader.join();
  EXPECT_TRUE(stream_status_.ok()) << stream_status_;
  points = ReadAll<v1::MetricPoint>([&](grpc::ClientContext* c) { return jobs_->StreamMetrics(c, metrics); });
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].message(), "before");
  EXPECT_EQ(lines[1].message(), "after");
  EXPECT_EQ(lines[1].task(), "inspect");
  EXPECT_EQ(lines[1].worker(), "w1");
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[1].step(), 2);
}

TEST_F(CoordinatorTest, ServesALaterCallAlthoughManyWaitAndWatch) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  v1::WatchJobRequest watch;
  watch.set_name("jobs/small-1");
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderInterface<v1::JobEvent>>> readers;
  for (int i = 0; i < 100; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(jobs_->WatchJob(contexts.back().get(), watch));
    v1::JobEvent event;
    ASSERT_TRUE(readers.back()->Read(&event)) << i;
  }
  EXPECT_TRUE(Get("jobs/small-1").ok());
  for (size_t i = 0; i < readers.size(); ++i) {
    contexts[i]->TryCancel();
    v1::JobEvent event;
    while (readers[i]->Read(&event)) {
    }
    readers[i]->Finish();
  }
}

TEST_F(CoordinatorTest, EndsWaitsAndStreamsWhenItStops) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  v1::WatchJobRequest watch;
  watch.set_name("jobs/small-1");
  grpc::ClientContext context;
  const auto reader = jobs_->WatchJob(&context, watch);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  coordinator_->Stop(std::chrono::seconds(30));
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace regroup
