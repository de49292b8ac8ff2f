// Tests that what a caller submits, lists and watches costs the coordinator and other clients a bounded amount of
// memory.
#include <fmt/format.h>

#include "coordinator/api/job_submission.h"
#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

class AnswerBoundsTest : public CoordinatorTest {
 protected:
  /// Returns a job file of about this many bytes.
  static v1::JobSpec SpecOfBytes(size_t bytes) {
    v1::JobSpec spec = SmallSpec();
    for (size_t i = 0; i < bytes / 4000; ++i) {
      v1::Evaluation::MultipleChoice& task = *spec.mutable_evaluation()->add_multiple_choice();
      task.set_name(fmt::format("task-{}", i));
      task.set_data(fmt::format("/{}", std::string(3980, 'x')));
    }
    return spec;
  }
  /// Stores a finished job whose file is larger than what is accepted, as earlier releases did.
  void StoreFinished(const std::string& id, size_t bytes) {
    Job job = MakeJob(id, SpecOfBytes(bytes));
    job.NextRevision();
    Changes created;
    created.jobs.push_back({job.record(), {0}});
    ASSERT_TRUE(store_->Commit(created).ok());
    ASSERT_TRUE(job.Cancel(Time(Duration(2))).ok());
    job.NextRevision();
    Changes cancelled;
    cancelled.jobs.push_back({job.record(), {0}});
    ASSERT_TRUE(store_->Commit(cancelled).ok());
  }
};

TEST_F(AnswerBoundsTest, RefusesJobFilesThatAreLargerThanAnyRealOne) {
  EXPECT_TRUE(Submit(Request("large", SpecOfBytes(60'000))).ok());
  const v1::SubmitJobRequest request = Request("larger", SpecOfBytes(900'000));
  const absl::Status submitted = Submit(request).status();
  EXPECT_EQ(ReasonOf(submitted), v1::INVALID_FIELD);
  EXPECT_THAT(std::string(submitted.message()), HasSubstr("a job has at most 65536"));
  v1::PlanJobRequest plan;
  *plan.mutable_spec() = request.spec();
  v1::PlanJobResponse response;
  EXPECT_EQ(ReasonOf(Call(jobs_, &v1::JobService::StubInterface::PlanJob, plan, &response)), v1::INVALID_FIELD);
}

TEST_F(AnswerBoundsTest, StillShowsLargerJobsOfAnEarlierRelease) {
  StoreFinished("old", 900'000);
  EXPECT_EQ(Get("jobs/old")->spec().evaluation().multiple_choice_size(), 225);
  const std::vector<v1::JobEvent> events = WatchToTheEnd("jobs/old", "r1");
  EXPECT_TRUE(stream_status_.ok()) << stream_status_;
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].job().spec().evaluation().multiple_choice_size(), 225);
  EXPECT_TRUE(Delete("jobs/old").ok());
}

TEST_F(AnswerBoundsTest, ListsLargeJobsInPagesThatEveryClientAccepts) {
  for (int job = 0; job < 24; ++job) StoreFinished(fmt::format("old-{:02}", job), 900'000);
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  std::vector<std::string> names;
  do {
    v1::ListJobsResponse page;
    const absl::Status listed = Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page);
    ASSERT_TRUE(listed.ok()) << listed;
    EXPECT_LT(page.ByteSizeLong(), size_t{4} << 20);
    for (const v1::Job& job : page.jobs()) names.push_back(job.name());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  ASSERT_EQ(names.size(), 24u);
  EXPECT_EQ(names.front(), "jobs/old-23");
  EXPECT_EQ(names.back(), "jobs/old-00");
}

TEST_F(AnswerBoundsTest, ListsWorkersInPagesThatEveryClientAccepts) {
  Changes changes;
  for (int worker = 0; worker < 1500; ++worker) {
    v1::Worker& stored = changes.workers.emplace_back();
    stored.set_name(WorkerName(fmt::format("w{:04}", worker)));
    for (std::string* text : {stored.mutable_host(), stored.mutable_device_name(), stored.mutable_gang_address(),
                              stored.mutable_device()}) {
      *text = std::string(256, 'x');
    }
  }
  ASSERT_TRUE(store_->Commit(changes).ok());
  Start();
  v1::ListWorkersRequest request;
  request.set_page_size(1000);
  int workers = 0;
  do {
    v1::ListWorkersResponse page;
    ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListWorkers, request, &page).ok());
    EXPECT_LT(page.ByteSizeLong(), kBytesPerPage + 10'000);
    workers += page.workers_size();
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(workers, 1500);
}

TEST_F(AnswerBoundsTest, EndsTheStreamsOfACallerThatHoldTooManyBytes) {
  Job unfinished = MakeJob("old", SpecOfBytes(900'000));
  unfinished.NextRevision();
  Changes changes;
  changes.jobs.push_back({unfinished.record(), {0}});
  ASSERT_TRUE(store_->Commit(changes).ok());
  StoreFinished("small", 0);
  options_.streams.bytes_per_caller = size_t{4} << 20;
  Start();
  v1::WatchJobRequest request;
  request.set_name("jobs/old");
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderInterface<v1::JobEvent>>> readers;
  for (int i = 0; i < 10; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(jobs_->WatchJob(contexts.back().get(), request));
    readers.back()->WaitForInitialMetadata();
  }
  int whole = 0;
  int refused = 0;
  for (size_t i = 0; i < readers.size(); ++i) {
    v1::JobEvent event;
    if (readers[i]->Read(&event)) {
      ++whole;
      continue;
    }
    refused += ReasonOf(FromGrpc(readers[i]->Finish())) == v1::LIMIT_REACHED ? 1 : 0;
  }
  EXPECT_EQ(whole, 2);
  EXPECT_EQ(refused, 8);
  EXPECT_EQ(WatchToTheEnd("jobs/small").size(), 1u) << "others that fit go on";
  for (int i = 0; i < whole; ++i) {
    contexts[static_cast<size_t>(i)]->TryCancel();
    readers[static_cast<size_t>(i)]->Finish();
  }
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    const auto reader = jobs_->WatchJob(&context, request);
    v1::JobEvent event;
    const bool is_read = reader->Read(&event);
    context.TryCancel();
    reader->Finish();
    return is_read;
  })) << "streams that have ended no longer count";
}

TEST_F(AnswerBoundsTest, RetriesNoJobBeyondTheLimitOnUnfinishedOnes) {
  options_.cluster.max_unfinished_jobs = 2;
  Start();
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(Submit(Request(id)).ok());
    ASSERT_TRUE(Cancel(JobName(id)).ok());
  }
  EXPECT_TRUE(Retry("jobs/a").ok());
  EXPECT_TRUE(Retry("jobs/b").ok());
  EXPECT_EQ(ReasonOf(Retry("jobs/c").status()), v1::LIMIT_REACHED);
  EXPECT_EQ(Get("jobs/c")->state(), v1::JOB_STATE_CANCELLED);
  ASSERT_TRUE(Cancel("jobs/a").ok());
  EXPECT_TRUE(Retry("jobs/c").ok());
}

TEST_F(AnswerBoundsTest, CountsTheUnfinishedJobsOfAnOwner) {
  Cluster cluster({.max_unfinished_jobs_per_caller = 1});
  cluster.AddJob(MakeJob("a", SmallSpec(), Time(Duration(1)), "alice"));
  Changes changes;
  const Turn turn{cluster, *store_, changes, Time(Duration(1))};
  EXPECT_EQ(ReasonOf(CheckLimit("alice", turn)), v1::LIMIT_REACHED);
  EXPECT_TRUE(CheckLimit("bob", turn).ok());
}

}  // namespace
}  // namespace regroup
