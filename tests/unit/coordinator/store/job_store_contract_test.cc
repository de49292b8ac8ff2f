// The contract of every JobStore. Add a new store to StoreKinds to run all cases on it.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "services/common/base/error.h"
#include "tests/unit/coordinator/store/store_contract.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Returns the names of the fields that are set, without the given ones.
std::vector<std::string> FieldsWithout(const std::set<std::string>& left_out, const v1::Job& job) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  job.GetReflection()->ListFields(job, &fields);
  std::vector<std::string> names;
  for (const google::protobuf::FieldDescriptor* field : fields) {
    if (!left_out.contains(field->name())) names.push_back(field->name());
  }
  return names;
}

/// Returns a job in which every field is set.
v1::Job FullJob() {
  v1::Job job;
  (*job.mutable_figures())["perplexity/source"] = 2;
  const google::protobuf::Reflection& reflection = *job.GetReflection();
  for (int i = 0; i < job.GetDescriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* const field = job.GetDescriptor()->field(i);
    const bool is_message = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE;
    const bool is_text = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING;
    if (field->is_map()) continue;
    if (is_message && field->is_repeated()) reflection.AddMessage(&job, field);
    if (is_message && !field->is_repeated()) reflection.MutableMessage(&job, field);
    if (is_text && field->is_repeated()) reflection.AddString(&job, field, "text");
    if (is_text && !field->is_repeated()) reflection.SetString(&job, field, "text");
  }
  job.set_state(v1::JOB_STATE_PAUSED);
  job.set_revision(3);
  return job;
}

TEST(StoredJob, KeepsEveryFieldThatIsStored) {
  const v1::Job job = FullJob();
  ASSERT_EQ(FieldsWithout({}, job).size(), static_cast<size_t>(job.GetDescriptor()->field_count()));
  EXPECT_EQ(FieldsWithout({}, WithoutTasks(job)), FieldsWithout({"tasks"}, job));
  JobChange change;
  change.record.job = job;
  EXPECT_EQ(FieldsWithout({}, EventOf(change).job()), FieldsWithout({"tasks", "spec", "resolved_spec"}, job));
}

TEST_P(JobStoreContract, KeepsAJobAcrossReopening) {
  Job job = Create("a");
  const Job before = job;
  job.Start(0, "w1", Time(Duration(5)));
  job.Lose(0, "gone", {.done = 3}, Time(Duration(9)));
  job.GrantPublication();
  ASSERT_TRUE(CommitChange(job, before).ok());
  Open();
  const absl::StatusOr<JobRecord> read = store_->GetJob("a");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->job.SerializeAsString(), job.proto().SerializeAsString());
  EXPECT_EQ(read->retries, job.record().retries);
  EXPECT_TRUE(read->publication_granted);
}

TEST_P(JobStoreContract, KeepsAPauseAcrossReopening) {
  Job job = Create("a");
  const Job before = job;
  ASSERT_TRUE(job.Pause(Time(Duration(7))).ok());
  ASSERT_TRUE(CommitChange(job, before).ok());
  Open();
  const std::vector<JobRecord> unfinished = store_->LoadUnfinished().value();
  ASSERT_EQ(unfinished.size(), 1u);
  EXPECT_EQ(unfinished[0].job.state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(unfinished[0].pause_start, Time(Duration(7)));
}

TEST_P(JobStoreContract, SaysWhichJobItDoesNotHave) {
  const absl::Status status = store_->GetJob("nothing").status();
  EXPECT_EQ(ReasonOf(status), v1::RESOURCE_NOT_FOUND);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("nothing"));
}

TEST_P(JobStoreContract, LoadsOnlyUnfinishedJobsOldestFirst) {
  Create("z");
  Job cancelled = Create("m");
  Create("a");
  const Job before = cancelled;
  ASSERT_TRUE(cancelled.Cancel(Time()).ok());
  ASSERT_TRUE(CommitChange(cancelled, before).ok());
  std::vector<std::string> names;
  const std::vector<JobRecord> records = store_->LoadUnfinished().value();
  for (const JobRecord& record : records) names.push_back(record.job.name());
  EXPECT_THAT(names, ElementsAre("jobs/z", "jobs/a"));
}

TEST_P(JobStoreContract, ListsNewestFirstInPagesThatFitTogether) {
  for (const char* id : {"a", "b", "c"}) Create(id);
  const JobPage first = store_->ListJobs({.limit = 2}).value();
  EXPECT_THAT(Names(first), ElementsAre("jobs/c", "jobs/b"));
  EXPECT_EQ(first.jobs[0].tasks_size(), 0);
  Create("d");
  const JobPage second = store_->ListJobs({.before = first.next, .limit = 2}).value();
  EXPECT_THAT(Names(second), ElementsAre("jobs/a"));
  EXPECT_EQ(second.next, 0);
  EXPECT_EQ(store_->ListJobs({.limit = 4}).value().next, 0);
}

TEST_P(JobStoreContract, ListsByStateAndLabels) {
  v1::JobSpec labelled = SmallSpec();
  (*labelled.mutable_labels())["team"] = "search";
  Create("plain");
  Create("labelled", labelled);
  Job cancelled = Create("cancelled", labelled);
  const Job before = cancelled;
  ASSERT_TRUE(cancelled.Cancel(Time()).ok());
  ASSERT_TRUE(CommitChange(cancelled, before).ok());
  EXPECT_THAT(Names(store_->ListJobs({.states = {v1::JOB_STATE_QUEUED}}).value()),
              ElementsAre("jobs/labelled", "jobs/plain"));
  EXPECT_THAT(Names(store_->ListJobs({.states = {v1::JOB_STATE_QUEUED}, .labels = {{"team", "search"}}}).value()),
              ElementsAre("jobs/labelled"));
  EXPECT_THAT(Names(store_->ListJobs({.labels = {{"team", "ads"}}}).value()), IsEmpty());
}

TEST_P(JobStoreContract, ReadsEventsInOrderWithTheTasksThatChanged) {
  Job job = Create("a");
  Job before = job;
  job.Start(0, "w1", Time());
  ASSERT_TRUE(CommitChange(job, before).ok());
  before = job;
  job.Finish(0, InspectSuccess(), {}, Time());
  ASSERT_TRUE(CommitChange(job, before).ok());

  const auto events = store_->ReadEvents("a", 1, 10).value();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].job().revision(), 2);
  EXPECT_EQ(events[0].job().tasks_size(), 1);
  EXPECT_EQ(events[1].job().revision(), 3);
  EXPECT_EQ(events[1].job().tasks_size(), 11);
  EXPECT_EQ(RevisionOf(events[1].resume_token()).value(), 3);
  for (const v1::JobEvent& event : events) {
    EXPECT_EQ(event.job().spec().SerializeAsString(), job.proto().spec().SerializeAsString());
    EXPECT_EQ(event.job().resolved_spec().SerializeAsString(), job.proto().resolved_spec().SerializeAsString());
  }
  EXPECT_EQ(store_->ReadEvents("a", 1, 1).value().size(), 1u);
  EXPECT_THAT(store_->ReadEvents("a", 3, 10).value(), IsEmpty());
}

TEST_P(JobStoreContract, ForgetsOldEventsAndThenReadsNothingAfterThem) {
  Job job = Create("a");
  for (int change = 0; change < kEventsKept; ++change) {
    const Job before = job;
    job.NextRevision();
    ASSERT_TRUE(Commit({.jobs = {ChangeOf(job, before)}}).ok());
  }
  EXPECT_THAT(store_->ReadEvents("a", 0, 10).value(), IsEmpty());
  EXPECT_EQ(store_->ReadEvents("a", 1, 1000).value().size(), static_cast<size_t>(kEventsKept));
}

TEST_P(JobStoreContract, FindsTheFirstRequestWithAnId) {
  Job job = MakeJob("a");
  ASSERT_TRUE(Commit({.jobs = {ChangeOf(job)}, .requests = {{"key-1", "digest", "a"}}}).ok());
  const auto found = store_->FindRequest("key-1").value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->job, "a");
  EXPECT_EQ(found->digest, "digest");
  EXPECT_FALSE(store_->FindRequest("key-2").value());
}

TEST_P(JobStoreContract, FiltersLogsAndContinuesAfterANumber) {
  ASSERT_TRUE(Commit({.logs = {Log("a", "inspect", 0, v1::LOG_SEVERITY_INFO, "one"),
                               Log("a", "finetune", 0, v1::LOG_SEVERITY_WARNING, "two"),
                               Log("b", "finetune", 0, v1::LOG_SEVERITY_ERROR, "other job"),
                               Log("a", "finetune", 1, v1::LOG_SEVERITY_ERROR, "three")}})
                  .ok());
  EXPECT_THAT(Messages({.job = "a"}), ElementsAre("one", "two", "three"));
  EXPECT_THAT(Messages({.job = "a", .task = "finetune"}), ElementsAre("two", "three"));
  EXPECT_THAT(Messages({.job = "a", .ranks = {1}}), ElementsAre("three"));
  EXPECT_THAT(Messages({.job = "a", .min_severity = v1::LOG_SEVERITY_WARNING}), ElementsAre("two", "three"));
  const auto first = store_->ReadLogs({.job = "a", .limit = 1}).value();
  EXPECT_THAT(Messages({.job = "a", .after = first[0].number}), ElementsAre("two", "three"));
}

TEST_P(JobStoreContract, FindsTheStartOfTheLogsTail) {
  Changes changes;
  for (int line = 0; line < 5; ++line) {
    changes.logs.push_back(Log("a", "finetune", line % 2, v1::LOG_SEVERITY_INFO, std::to_string(line)));
  }
  ASSERT_TRUE(Commit(changes).ok());
  LogQuery query{.job = "a"};
  query.after = store_->StartOfLogTail(query, 2).value();
  EXPECT_THAT(Messages(query), ElementsAre("3", "4"));
  LogQuery even{.job = "a", .ranks = {0}};
  even.after = store_->StartOfLogTail(even, 2).value();
  EXPECT_THAT(Messages(even), ElementsAre("2", "4"));
  EXPECT_EQ(store_->StartOfLogTail({.job = "a"}, 5).value(), 0);
}

TEST_P(JobStoreContract, CountsTheBytesOfAJobsLog) {
  EXPECT_EQ(store_->LogBytes("a").value(), 0);
  Changes changes;
  changes.logs.push_back(Log("a", "finetune", 0, v1::LOG_SEVERITY_INFO, std::string(1000, 'x')));
  changes.logs.push_back(Log("a", "finetune", 1, v1::LOG_SEVERITY_ERROR, "y"));
  changes.logs.push_back(Log("b", "finetune", 0, v1::LOG_SEVERITY_INFO, "z"));
  const auto expected =
      static_cast<int64_t>(changes.logs[0].entry.ByteSizeLong() + changes.logs[1].entry.ByteSizeLong());
  ASSERT_TRUE(Commit(changes).ok());
  EXPECT_EQ(store_->LogBytes("a").value(), expected);
}

TEST_P(JobStoreContract, ReadsMetricPointsOfLaterSteps) {
  Changes changes;
  for (int step = 0; step < 4; ++step) {
    JobMetric metric{"a", {}};
    metric.point.set_metric(step % 2 == 0 ? "loss" : "learning_rate");
    metric.point.set_step(step);
    metric.point.set_value(0.5 * step);
    changes.metrics.push_back(metric);
  }
  ASSERT_TRUE(Commit(changes).ok());
  EXPECT_EQ(store_->ReadMetrics({.job = "a"}).value().size(), 4u);
  EXPECT_EQ(store_->ReadMetrics({.job = "a", .after_step = 1}).value().size(), 2u);
  const auto losses = store_->ReadMetrics({.job = "a", .metrics = {"loss"}}).value();
  ASSERT_EQ(losses.size(), 2u);
  EXPECT_EQ(losses[1].message.value(), 1.0);
}

TEST_P(JobStoreContract, KeepsWorkers) {
  v1::Worker worker;
  worker.set_name("workers/w1");
  worker.set_state(v1::WORKER_STATE_DRAINING);
  ASSERT_TRUE(Commit({.workers = {worker}}).ok());
  worker.set_slots(4);
  ASSERT_TRUE(Commit({.workers = {worker}}).ok());
  const auto workers = store_->LoadWorkers().value();
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_EQ(workers[0].SerializeAsString(), worker.SerializeAsString());
}

TEST_P(JobStoreContract, ListsTheJobsOfOneOwner) {
  for (const auto& [id, owner] : std::map<std::string, std::string>{{"a", "alice"}, {"b", "bob"}, {"c", "alice"}}) {
    Job job = MakeJob(id, SmallSpec(), Time(Duration(1)), owner);
    job.NextRevision();
    ASSERT_TRUE(Commit({.jobs = {ChangeOf(job)}}).ok());
  }
  EXPECT_THAT(Names(*store_->ListJobs({.owner = "alice"})), ElementsAre("jobs/c", "jobs/a"));
  const JobPage first = *store_->ListJobs({.owner = "alice", .limit = 1});
  EXPECT_THAT(Names(first), ElementsAre("jobs/c"));
  EXPECT_THAT(Names(*store_->ListJobs({.owner = "alice", .before = first.next})), ElementsAre("jobs/a"));
  EXPECT_THAT(Names(*store_->ListJobs({.owner = "carol"})), IsEmpty());
  EXPECT_EQ(store_->GetJob("b")->job.owner(), "bob");
}

TEST_P(JobStoreContract, FindsFinishedJobsByTheirEnd) {
  const auto end_at = [this](const std::string& id, int64_t seconds) {
    Job job = Create(id);
    const Job before = job;
    ASSERT_TRUE(job.Cancel(Time(std::chrono::seconds(seconds))).ok());
    ASSERT_TRUE(CommitChange(job, before).ok());
  };
  end_at("late", 300);
  end_at("early", 100);
  end_at("middle", 200);
  Create("unfinished");
  EXPECT_THAT(store_->FinishedBefore(Time(std::chrono::seconds(300)), 10).value(), ElementsAre("early", "middle"));
  EXPECT_THAT(store_->FinishedBefore(Time(std::chrono::seconds(999)), 1).value(), ElementsAre("early"));
}

TEST_P(JobStoreContract, KeepsAuditEntriesWithTheirCommitAndAfterTheirJob) {
  const auto entry = [](const std::string& method, const std::string& resource) {
    v1::AuditEntry made;
    made.set_method(method);
    made.set_resource(resource);
    return made;
  };
  Create("a");
  ASSERT_TRUE(Commit({.audit = {entry("one", "jobs/a"), entry("two", "jobs/b")}}).ok());
  EXPECT_FALSE(Commit({.requests = {{"key", "1", "b"}, {"key", "2", "b"}}, .audit = {entry("lost", "jobs/a")}}).ok());
  ASSERT_TRUE(Commit({.audit = {entry("three", "jobs/a")}, .deleted_jobs = {"a"}}).ok());
  const auto methods = [this](const AuditQuery& query) {
    const AuditPage page = store_->ReadAudit(query).value();
    std::vector<std::string> found;
    for (const auto& numbered : page.entries) found.push_back(numbered.message.method());
    return found;
  };
  EXPECT_THAT(methods({}), ElementsAre("three", "two", "one"));
  EXPECT_THAT(methods({.resource = "jobs/a"}), ElementsAre("three", "one"));
  EXPECT_EQ(store_->ReadAudit({.limit = 3}).value().next, 0);
  const int64_t newest = store_->ReadAudit({.limit = 1}).value().next;
  EXPECT_THAT(methods({.before = newest, .limit = 1}), ElementsAre("two"));
}

TEST_P(JobStoreContract, CopiesItselfWhileItIsWrittenOrSaysWhatCopiesIt) {
  std::string pattern = (std::filesystem::temp_directory_path() / "store_copy_XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(pattern.data());
  const std::filesystem::path file = folder / "new" / "copy";
  for (int job = 0; job < 20; ++job) Create("before-" + std::to_string(job));
  Changes large;
  for (int line = 0; line < 1000; ++line) {
    large.logs.push_back(Log("before-0", "t", 0, v1::LOG_SEVERITY_INFO, std::string(10000, 'x')));
  }
  ASSERT_TRUE(Commit(large).ok());
  absl::Status status;
  std::thread copier([&] { status = store_->Backup(file); });
  for (int job = 0; job < 20; ++job) Create("during-" + std::to_string(job));
  copier.join();
  if (home_->CanCopy()) {
    ASSERT_TRUE(status.ok()) << status;
    Create("after");
    auto copy = home_->OpenCopy(file);
    ASSERT_TRUE(copy.ok()) << copy.status();
    for (int job = 0; job < 20; ++job) EXPECT_TRUE(copy->store->GetJob("before-" + std::to_string(job)).ok());
    EXPECT_EQ(copy->store->ReadLogs({.job = "before-0", .limit = 5000, .bytes = size_t{1} << 30})->size(), 1000u);
    EXPECT_FALSE(copy->store->GetJob("after").ok());
    EXPECT_EQ(store_->Backup(file).code(), absl::StatusCode::kAlreadyExists);
  } else {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("dump"));
    EXPECT_FALSE(std::filesystem::exists(file));
  }
  std::filesystem::remove_all(folder);
}

TEST_P(JobStoreContract, KeepsDeliveriesUntilTheyAreFinished) {
  const Delivery first{.id = "a.1.hook", .hook = "hook", .body = std::string("{\"a\"\0}", 6), .created_us = 7};
  const Delivery second{.id = "b.1.hook", .hook = "hook", .body = "{}", .created_us = 8, .not_before_us = 50};
  ASSERT_TRUE(Commit({.deliveries = {second, first}}).ok());
  const auto ids = [&](int64_t now, size_t limit = 10) {
    std::vector<std::string> found;
    const std::vector<Delivery> due = store_->DueDeliveries(now, limit).value();
    for (const Delivery& delivery : due) found.push_back(delivery.id);
    return found;
  };
  EXPECT_THAT(ids(49), ElementsAre("a.1.hook"));
  EXPECT_THAT(ids(50), ElementsAre("a.1.hook", "b.1.hook"));
  EXPECT_THAT(ids(50, 1), ElementsAre("a.1.hook"));
  const Delivery stored = store_->DueDeliveries(49, 1).value().front();
  EXPECT_EQ(stored.body, first.body);
  EXPECT_EQ(stored.hook, "hook");
  EXPECT_EQ(stored.created_us, 7);
  Delivery again = first;
  again.failures = 3;
  again.not_before_us = 60;
  ASSERT_TRUE(Commit({.deliveries = {again}}).ok());
  EXPECT_THAT(ids(60), ElementsAre("b.1.hook", "a.1.hook"));
  EXPECT_EQ(store_->DueDeliveries(60, 2).value().back().failures, 3);
  ASSERT_TRUE(Commit({.finished_deliveries = {"b.1.hook", "unknown"}}).ok());
  EXPECT_THAT(ids(60), ElementsAre("a.1.hook"));
}

TEST_P(JobStoreContract, DeletesEverythingOfAJobAndNothingElse) {
  Create("a");
  Create("b");
  ASSERT_TRUE(
      Commit({.requests = {{"key", "digest", "a"}}, .logs = {Log("a", "t", 0, v1::LOG_SEVERITY_INFO, "x")}}).ok());
  ASSERT_TRUE(Commit({.deleted_jobs = {"a"}}).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->GetJob("a").status()));
  EXPECT_FALSE(store_->FindRequest("key").value());
  EXPECT_THAT(Messages({.job = "a"}), IsEmpty());
  EXPECT_THAT(store_->ReadEvents("a", 0, 10).value(), IsEmpty());
  EXPECT_TRUE(store_->GetJob("b").ok());
}

TEST_P(JobStoreContract, StoresAllOfACommitOrNothing) {
  Create("a");
  Job other = MakeJob("b");
  // The second request id is taken, so the whole commit must fail.
  const Changes changes{.jobs = {ChangeOf(other)}, .requests = {{"key", "1", "b"}, {"key", "2", "b"}}};
  EXPECT_EQ(Commit(changes).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::IsNotFound(store_->GetJob("b").status()));
  EXPECT_FALSE(store_->FindRequest("key").value());
}

TEST_P(JobStoreContract, RefusesWhatDoesNotFitOnAFullMediumAndGoesOnAfterwards) {
  Create("a");
  Open(256 << 10);
  Changes large;
  for (int line = 0; line < 100; ++line) {
    large.logs.push_back(Log("a", "t", 0, v1::LOG_SEVERITY_INFO, std::string(10000, 'x')));
  }
  const absl::Status status = Commit(large);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ReasonOf(status), v1::STORE_UNAVAILABLE);
  EXPECT_THAT(Messages({.job = "a"}), IsEmpty());
  Create("b");
  EXPECT_TRUE(store_->GetJob("b").ok());
}

TEST_P(JobStoreContract, RefusesASecondOwner) {
  const absl::Status status = home_->Open(0).status();
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("in use by another coordinator"));
}

TEST_P(JobStoreContract, RefusesDamagedContent) {
  Create("a");
  Close();
  home_->Damage();
  const absl::Status status = home_->Open(0).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              ::testing::AnyOf(::testing::HasSubstr("damaged"), ::testing::HasSubstr("malformed")));
}

TEST_P(JobStoreContract, FindsAFewAmongManyThatAFilterLeavesOut) {
  v1::JobSpec wanted = SmallSpec();
  (*wanted.mutable_labels())["wanted"] = "yes";
  Changes changes;
  for (int number = 0; number < 60; ++number) {
    Job job = MakeJob("job-" + std::to_string(number), number % 20 == 0 ? wanted : SmallSpec());
    job.NextRevision();
    changes.jobs.push_back(ChangeOf(job));
    changes.logs.push_back(Log("a", "t", number % 20, v1::LOG_SEVERITY_INFO, std::to_string(number)));
  }
  ASSERT_TRUE(Commit(changes).ok());
  JobQuery query{.labels = {{"wanted", "yes"}}, .limit = 2};
  const JobPage first = store_->ListJobs(query).value();
  EXPECT_THAT(Names(first), ElementsAre("jobs/job-40", "jobs/job-20"));
  query.before = first.next;
  const JobPage second = store_->ListJobs(query).value();
  EXPECT_THAT(Names(second), ElementsAre("jobs/job-0"));
  EXPECT_EQ(second.next, 0);
  EXPECT_THAT(Messages({.job = "a", .ranks = {7}, .limit = 2}), ElementsAre("7", "27"));
  LogQuery tail{.job = "a", .ranks = {7}};
  tail.after = store_->StartOfLogTail(tail, 1).value();
  EXPECT_THAT(Messages(tail), ElementsAre("47"));
}

TEST_P(JobStoreContract, StoresEveryCharacterOfATextAndFindsItAgain) {
  Create("a");
  const std::string odd = "owner\n'\"\\ $1 \xc3\xa4" + std::string(1, '\0') + "end";
  ASSERT_TRUE(
      Commit({.requests = {{odd, "digest", "a"}}, .logs = {Log("a", odd, 0, v1::LOG_SEVERITY_INFO, odd)}}).ok());
  EXPECT_TRUE(store_->FindRequest(odd).value());
  EXPECT_THAT(Messages({.job = "a", .task = odd}), ElementsAre(odd));
}

INSTANTIATE_TEST_SUITE_P(Stores, JobStoreContract, ::testing::ValuesIn(StoreKinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace regroup
