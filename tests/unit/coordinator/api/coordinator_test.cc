// The coordinator as its callers see it: real gRPC on loopback, a real store in a folder, a worker made of calls.
#include "coordinator/api/coordinator.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "coordinator/store/sqlite_job_store.h"
#include "services/base/status_macros.h"
#include "services/rpc/channel.h"
#include "services/rpc/status.h"
#include "tests/unit/coordinator/api/faulty_job_store.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CoordinatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "coordinator_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    Start();
  }
  void TearDown() override {
    coordinator_.reset();
    std::filesystem::remove_all(folder_);
  }

  /// Starts on what the folder holds; a second time as after a crash.
  void Start() {
    coordinator_.reset();
    auto store = SqliteJobStore::Open({.path = folder_ / "state" / "regroup.db"});
    ASSERT_TRUE(store.ok()) << store.status();
    auto faulty = std::make_unique<FaultyJobStore>(*std::move(store));
    store_ = faulty.get();
    CoordinatorOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics_listen = "";
    options.work_folder = folder_;
    auto started = Coordinator::Start(options, std::move(faulty));
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    const auto channel = OpenChannel(coordinator_->address()).value();
    jobs_ = v1::JobService::NewStub(channel);
    workers_ = v1::WorkerService::NewStub(channel);
    cluster_ = v1::ClusterService::NewStub(channel);
  }

  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub& stub,
                    grpc::Status (Stub::element_type::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return FromGrpc((stub.get()->*method)(&context, request, response));
  }

  // What users do.

  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request) {
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::SubmitJob, request, &job));
    return job;
  }
  static v1::SubmitJobRequest Request(const std::string& job_id, const v1::JobSpec& spec = SmallSpec()) {
    v1::SubmitJobRequest request;
    request.set_job_id(job_id);
    *request.mutable_spec() = spec;
    return request;
  }
  absl::StatusOr<v1::Job> Get(const std::string& name) {
    v1::GetJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::GetJob, request, &job));
    return job;
  }
  absl::StatusOr<v1::Job> Cancel(const std::string& name) {
    v1::CancelJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::CancelJob, request, &job));
    return job;
  }
  absl::StatusOr<v1::Job> Retry(const std::string& name) {
    v1::RetryJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::RetryJob, request, &job));
    return job;
  }
  absl::Status Delete(const std::string& name) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    google::protobuf::Empty response;
    return Call(jobs_, &v1::JobService::StubInterface::DeleteJob, request, &response);
  }
  std::vector<v1::JobEvent> WatchToTheEnd(const std::string& name, const std::string& token = "") {
    v1::WatchJobRequest request;
    request.set_name(name);
    request.set_resume_token(token);
    return ReadAll<v1::JobEvent>([&](grpc::ClientContext* context) { return jobs_->WatchJob(context, request); });
  }
  template <typename Message, typename Open>
  std::vector<Message> ReadAll(Open open) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto reader = open(&context);
    std::vector<Message> messages;
    Message message;
    while (reader->Read(&message)) messages.push_back(message);
    stream_status_ = FromGrpc(reader->Finish());
    return messages;
  }

  // What workers do.

  absl::Status Register(const FakeWorker& worker, v1::RegisterWorkerResponse* response = nullptr) {
    v1::RegisterWorkerResponse ignored;
    return Call(workers_, &v1::WorkerService::StubInterface::RegisterWorker, worker.Registration(),
                response != nullptr ? response : &ignored);
  }
  std::optional<v1::TaskAssignment> Acquire(FakeWorker& worker, Duration wait = std::chrono::seconds(20)) {
    v1::AcquireTaskResponse response;
    const absl::Status status =
        Call(workers_, &v1::WorkerService::StubInterface::AcquireTask, worker.Acquire(worker.slots, wait), &response);
    EXPECT_TRUE(status.ok()) << status;
    if (!response.has_assignment()) return std::nullopt;
    worker.running.push_back(response.assignment().attempt());
    return response.assignment();
  }
  absl::Status Report(const v1::ReportTaskRequest& request) {
    v1::ReportTaskResponse response;
    return Call(workers_, &v1::WorkerService::StubInterface::ReportTask, request, &response);
  }
  absl::StatusOr<v1::HeartbeatResponse> Beat(const FakeWorker& worker) {
    v1::HeartbeatResponse response;
    REGROUP_RETURN_IF_ERROR(
        Call(workers_, &v1::WorkerService::StubInterface::Heartbeat, worker.Heartbeat(), &response));
    return response;
  }
  absl::Status Push(const FakeWorker& worker, const v1::AttemptReport& report) {
    v1::PushLogsRequest request;
    request.set_worker(worker.id);
    *request.add_reports() = report;
    v1::PushLogsResponse response;
    return Call(workers_, &v1::WorkerService::StubInterface::PushLogs, request, &response);
  }
  /// Acquires one task, reports success for it and returns its id.
  std::string RunOne(FakeWorker& worker) {
    const auto assignment = Acquire(worker);
    if (!assignment) return "nothing";
    const v1::AttemptId& attempt = assignment->attempt();
    if (assignment->kind() == v1::TASK_KIND_REPORT) {
      EXPECT_TRUE(Report(worker.AskToPublish(attempt)).ok());
    }
    const bool inspects = assignment->kind() == v1::TASK_KIND_INSPECT;
    EXPECT_TRUE(Report(worker.Report(attempt, inspects ? InspectSuccess() : Success())).ok());
    worker.running.clear();
    return attempt.task();
  }

  std::filesystem::path folder_;
  FaultyJobStore* store_ = nullptr;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<v1::JobService::StubInterface> jobs_;
  std::unique_ptr<v1::WorkerService::StubInterface> workers_;
  std::unique_ptr<v1::ClusterService::StubInterface> cluster_;
  absl::Status stream_status_;
  FakeWorker w1_{"w1"};
};

TEST_F(CoordinatorTest, TakesAJobFromSubmissionToSuccess) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  std::vector<std::string> order;
  while (order.size() < 11) order.push_back(RunOne(w1_));
  EXPECT_THAT(order,
              ElementsAre("inspect", "calibrate", "align-000", "align-001", "finetune", "export", "evaluate-source",
                          "evaluate-averaged", "evaluate-aligned", "evaluate-result", "report"));
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(CoordinatorTest, NamesAJobAfterItsFile) {
  const auto job = Submit(Request(""));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->name(), ::testing::MatchesRegex("jobs/small-[a-z0-9]{6}"));
  EXPECT_EQ(job->state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(job->waiting_reason(), "no worker is connected");
  EXPECT_EQ(job->resolved_spec().alignment().method(), "procrustes");
  EXPECT_FALSE(job->spec().has_alignment());
}

TEST_F(CoordinatorTest, NamesEveryFieldThatIsWrong) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_alignment()->set_method("procruste");
  spec.clear_output();
  const absl::Status status = Submit(Request("UPPER", spec)).status();
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  std::vector<std::string> fields;
  for (const FieldViolation& violation : ViolationsOf(status)) fields.push_back(violation.field());
  EXPECT_THAT(fields, ::testing::IsSupersetOf({"alignment.method", "output.checkpoint", "job_id"}));
}

TEST_F(CoordinatorTest, ValidatesWithoutAccepting) {
  v1::SubmitJobRequest request = Request("small-1");
  request.set_validate_only(true);
  const auto job = Submit(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->resolved_spec().recipe(), "paper");
  EXPECT_EQ(ReasonOf(Get("jobs/small-1").status()), v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, AnswersARepeatedRequestWithTheFirstJob) {
  v1::SubmitJobRequest request = Request("");
  request.set_request_id("key");
  const std::string first = Submit(request)->name();
  EXPECT_EQ(Submit(request)->name(), first);
  Start();
  EXPECT_EQ(Submit(request)->name(), first);
  request.mutable_spec()->mutable_target()->set_kv_heads(4);
  EXPECT_EQ(ReasonOf(Submit(request).status()), v1::REQUEST_ID_REUSED);
}

TEST_F(CoordinatorTest, MakesOneJobOfManyEqualRequestsAtOnce) {
  v1::SubmitJobRequest request = Request("");
  request.set_request_id("key");
  std::vector<std::string> names(8);
  std::vector<std::thread> callers;
  for (std::string& name : names) {
    callers.emplace_back([&] {
      const auto job = Submit(request);
      name = job.ok() ? job->name() : job.status().ToString();
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(names, ::testing::Each(names[0]));
  EXPECT_THAT(names[0], HasSubstr("jobs/small-"));
}

TEST_F(CoordinatorTest, RefusesATakenJobId) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  EXPECT_EQ(ReasonOf(Submit(Request("small-1")).status()), v1::JOB_ID_TAKEN);
}

TEST_F(CoordinatorTest, AcknowledgesNothingThatTheStoreRefuses) {
  store_->FailCommits(true);
  const absl::Status status = Submit(Request("small-1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), v1::STORE_UNAVAILABLE);
  EXPECT_EQ(ReasonOf(Get("jobs/small-1").status()), v1::RESOURCE_NOT_FOUND);
  store_->FailCommits(false);
  EXPECT_TRUE(Submit(Request("small-1")).ok());
}

TEST_F(CoordinatorTest, DoesNotHandOutATaskThatTheStoreRefuses) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  store_->FailCommits(true);
  v1::AcquireTaskResponse response;
  const absl::Status status = Call(workers_, &v1::WorkerService::StubInterface::AcquireTask,
                                   w1_.Acquire(1, std::chrono::seconds(20)), &response);
  EXPECT_EQ(ReasonOf(status), v1::STORE_UNAVAILABLE);
  EXPECT_FALSE(response.has_assignment());
  EXPECT_TRUE(Beat(w1_).ok()) << "signs of life need no store";
  store_->FailCommits(false);
  EXPECT_EQ(Acquire(w1_)->attempt().epoch(), 1);
}

TEST_F(CoordinatorTest, GoesOnAfterARestartWithoutRepeatingFinishedTasks) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  for (int task = 0; task < 3; ++task) RunOne(w1_);
  const auto running = Acquire(w1_);
  Start();
  EXPECT_EQ(ReasonOf(Beat(w1_).status()), v1::WORKER_NOT_REGISTERED);
  v1::RegisterWorkerResponse response;
  ASSERT_TRUE(Register(w1_, &response).ok());
  EXPECT_EQ(response.stop_size(), 0);
  EXPECT_TRUE(Report(w1_.Report(running->attempt(), Success())).ok());
  w1_.running.clear();
  std::string last;
  while (last != "report") last = RunOne(w1_);
  const v1::Job job = *Get("jobs/small-1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
  for (const v1::Task& task : job.tasks()) EXPECT_EQ(task.epoch(), 1) << task.name();
}

TEST_F(CoordinatorTest, AcceptsTheRepeatedReportThatEndedAJob) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  const auto report = w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER));
  EXPECT_TRUE(Report(report).ok());
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_FAILED);
  EXPECT_TRUE(Report(report).ok());
}

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

TEST_F(CoordinatorTest, CancelsAndRetriesAndDeletes) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  EXPECT_EQ(ReasonOf(Delete("jobs/small-1")), v1::WRONG_STATE);
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Report(w1_.Report(Acquire(w1_)->attempt(), FailureOf(v1::FAILURE_CLASS_DATA))).ok());
  w1_.running.clear();
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Retry("jobs/small-1")->state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(Acquire(w1_)->attempt().epoch(), 2);
  EXPECT_EQ(Cancel("jobs/small-1")->state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(Beat(w1_)->stop_size(), 1);
  ASSERT_TRUE(Report(w1_.Report(w1_.running.back(), FailureOf(v1::FAILURE_CLASS_INTERNAL))).ok());
  EXPECT_EQ(Cancel("jobs/small-1")->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(ReasonOf(Retry("jobs/small-1").status()), v1::WRONG_STATE);
  std::filesystem::create_directories(folder_ / "jobs" / "small-1" / "inspect");
  EXPECT_TRUE(Delete("jobs/small-1").ok());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "jobs" / "small-1"));
  EXPECT_EQ(ReasonOf(Get("jobs/small-1").status()), v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, ListsJobsPageByPage) {
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(Submit(Request(id)).ok());
  v1::ListJobsRequest request;
  request.set_page_size(2);
  v1::ListJobsResponse page;
  ASSERT_TRUE(Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page).ok());
  ASSERT_EQ(page.jobs_size(), 2);
  EXPECT_EQ(page.jobs(0).name(), "jobs/c");
  EXPECT_EQ(page.jobs(0).waiting_reason(), "no worker is connected");
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page).ok());
  ASSERT_EQ(page.jobs_size(), 1);
  EXPECT_EQ(page.jobs(0).name(), "jobs/a");
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_token("nonsense");
  EXPECT_EQ(ReasonOf(Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page)), v1::INVALID_FIELD);
}

TEST_F(CoordinatorTest, SaysThatItDoesNotPlanYet) {
  v1::PlanJobRequest request;
  v1::PlanJobResponse response;
  EXPECT_EQ(ReasonOf(Call(jobs_, &v1::JobService::StubInterface::PlanJob, request, &response)), v1::NOT_BUILT);
}

TEST_F(CoordinatorTest, ShowsAndDrainsWorkers) {
  ASSERT_TRUE(Register(FakeWorker("w2", 4)).ok());
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Acquire(w1_));
  v1::ListWorkersRequest list;
  list.set_page_size(1);
  v1::ListWorkersResponse page;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListWorkers, list, &page).ok());
  ASSERT_EQ(page.workers_size(), 1);
  EXPECT_EQ(page.workers(0).busy_slots(), 1);
  EXPECT_THAT(page.workers(0).running_tasks(), ElementsAre("jobs/small-1/tasks/inspect"));
  list.set_page_token(page.next_page_token());
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListWorkers, list, &page).ok());
  EXPECT_EQ(page.workers(0).name(), "workers/w2");
  EXPECT_EQ(page.next_page_token(), "");

  v1::DrainWorkerRequest drain;
  drain.set_name("workers/w2");
  v1::Worker worker;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::DrainWorker, drain, &worker).ok());
  EXPECT_EQ(worker.state(), v1::WORKER_STATE_DRAINING);
  drain.set_name("workers/none");
  EXPECT_EQ(ReasonOf(Call(cluster_, &v1::ClusterService::StubInterface::DrainWorker, drain, &worker)),
            v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, RefusesNamesOfAnotherForm) {
  EXPECT_EQ(ReasonOf(Get("small-1").status()), v1::INVALID_FIELD);
  EXPECT_EQ(ReasonOf(Get("jobs/").status()), v1::INVALID_FIELD);
  EXPECT_THAT(WatchToTheEnd("jobs/unknown"), ::testing::IsEmpty());
  EXPECT_EQ(ReasonOf(stream_status_), v1::RESOURCE_NOT_FOUND);
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

TEST_F(CoordinatorTest, ShowsFiguresOfAJobUntilItsEndAndNotAfter) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  v1::AttemptReport report;
  *report.mutable_attempt() = attempt;
  for (const char* metric : {"loss", "checkpoint_seconds"}) {
    v1::MetricPoint* point = report.add_metrics();
    point->set_metric(metric);
    point->set_step(7);
    point->set_value(2.5);
    point->mutable_time()->set_seconds(1000);
  }
  ASSERT_TRUE(Push(w1_, report).ok());
  const std::string labels = "{job_id=\"small-1\",task=\"inspect\"} ";
  const std::string during = coordinator_->metrics().metrics().Text();
  EXPECT_THAT(during, HasSubstr("regroup_job_loss" + labels + "2.5"));
  EXPECT_THAT(during, HasSubstr("regroup_job_step" + labels + "7"));
  EXPECT_THAT(during, HasSubstr("regroup_job_step_timestamp_seconds" + labels + "1000"));
  EXPECT_THAT(during, HasSubstr("regroup_job_checkpoint_timestamp_seconds" + labels + "1000"));

  ASSERT_TRUE(Report(w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER))).ok());
  ASSERT_TRUE(Push(w1_, report).ok());
  EXPECT_THAT(coordinator_->metrics().metrics().Text(), ::testing::Not(HasSubstr("small-1")));
}

TEST_F(CoordinatorTest, CountsWhatHappens) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  EXPECT_EQ(RunOne(w1_), "inspect");
  const std::string text = coordinator_->metrics().metrics().Text();
  EXPECT_THAT(text, HasSubstr("regroup_tasks_finished_total{kind=\"inspect\",outcome=\"succeeded\"} 1"));
  EXPECT_THAT(text, HasSubstr("regroup_job_queue_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("regroup_jobs_finished_total{failure=\"hang\",state=\"failed\"} 0"));
  EXPECT_THAT(text, HasSubstr("regroup_rpc_seconds_count{code=\"OK\",method=\"/regroup.v1.JobService/SubmitJob\"} 1"));
}

}  // namespace
}  // namespace regroup
