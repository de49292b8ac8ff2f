// Tests that no read returns more bytes than an answer may have, nor looks at more rows, whatever a store holds.
#include <gmock/gmock.h>

#include "tests/unit/coordinator/store/store_contract.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class BoundedReads : public JobStoreContract {
 protected:
  static v1::JobSpec SpecOfBytes(size_t bytes) {
    v1::JobSpec spec = SmallSpec();
    spec.mutable_calibration()->set_data(std::string(bytes, 'x'));
    return spec;
  }
  /// Reads all pages; each has fewer bytes than `most`, or one job.
  std::vector<std::string> NamesOfAllPages(JobQuery query, size_t most) {
    std::vector<std::string> names;
    do {
      const JobPage page = store_->ListJobs(query).value();
      size_t bytes = 0;
      for (const v1::Job& job : page.jobs) {
        bytes += job.ByteSizeLong();
        names.push_back(job.name());
      }
      EXPECT_TRUE(bytes < most || page.jobs.size() == 1) << bytes;
      query.before = page.next;
      ++pages_;
    } while (query.before != 0);
    return names;
  }

  int pages_ = 0;
};

TEST_P(BoundedReads, PagesOfJobsEndByBytes) {
  // Two or three of these are a page: a job carries its file as written and as resolved, with the path in each default.
  for (const char* id : {"a", "b", "c", "d"}) Create(id, SpecOfBytes(40'000));
  Create("large", SpecOfBytes(1'000'000));
  Create("e");
  const std::vector<std::string> names = NamesOfAllPages({.limit = 1000, .bytes = 500'000}, 500'000);
  EXPECT_THAT(names, ElementsAre("jobs/e", "jobs/large", "jobs/d", "jobs/c", "jobs/b", "jobs/a"));
  EXPECT_EQ(pages_, 4);
}

TEST_P(BoundedReads, AFilterLooksAtABoundedNumberOfJobsAndOfBytesInOneCall) {
  v1::JobSpec wanted = SmallSpec();
  (*wanted.mutable_labels())["wanted"] = "yes";
  Create("oldest", wanted);
  for (int job = 0; job < 200; ++job) Create("job-" + std::to_string(job));
  JobQuery query{.labels = {{"wanted", "yes"}}, .most_rows = 100};
  const JobPage first = store_->ListJobs(query).value();
  EXPECT_THAT(first.jobs, IsEmpty());
  EXPECT_NE(first.next, 0);
  EXPECT_THAT(NamesOfAllPages(query, 500'000), ElementsAre("jobs/oldest"));
  EXPECT_GE(pages_, 2);
  EXPECT_LE(pages_, 4);

  for (const char* id : {"x", "y", "z"}) Create(id, SpecOfBytes(500'000));
  EXPECT_NE(store_->ListJobs({.labels = {{"wanted", "yes"}}, .most_bytes = 1'000'000}).value().next, 0);
}

TEST_P(BoundedReads, PagesOfAuditEntriesEndByBytes) {
  Changes changes;
  for (int i = 0; i < 10; ++i) changes.audit.emplace_back().set_refusal(std::string(1000, 'x'));
  ASSERT_TRUE(Commit(changes).ok());
  AuditQuery query{.limit = 100, .bytes = 3500};
  std::vector<size_t> sizes;
  do {
    const AuditPage page = store_->ReadAudit(query).value();
    sizes.push_back(page.entries.size());
    query.before = page.next;
  } while (query.before != 0);
  EXPECT_THAT(sizes, ElementsAre(3, 3, 3, 1));
  EXPECT_EQ(store_->ReadAudit({.bytes = 1}).value().entries.size(), 1u);
}

TEST_P(BoundedReads, LogsAndMetricsEndByBytes) {
  Changes changes;
  for (int i = 0; i < 10; ++i) {
    changes.logs.push_back(Log("a", "t", 0, v1::LOG_SEVERITY_INFO, std::string(60'000, 'x')));
    changes.metrics.push_back({"a", {}});
    changes.metrics.back().point.set_metric(std::string(60'000, 'x'));
  }
  ASSERT_TRUE(Commit(changes).ok());
  EXPECT_EQ(store_->ReadLogs({.job = "a"}).value().size(), 4u);
  EXPECT_EQ(store_->ReadLogs({.job = "a", .bytes = 1}).value().size(), 1u);
  const auto points = store_->ReadMetrics({.job = "a", .after_step = -1}).value();
  ASSERT_EQ(points.size(), 4u);
  EXPECT_EQ(store_->ReadMetrics({.job = "a", .after = points.back().number}).value().size(), 4u);
}

TEST_P(BoundedReads, EventsEndByBytesAndCarryTheirSpecification) {
  Job job = Create("a", SpecOfBytes(20'000));
  for (int change = 0; change < 5; ++change) {
    const Job before = job;
    job.Start(0, "w1", Time());
    job.Lose(0, "gone", {}, Time());
    ASSERT_TRUE(CommitChange(job, before).ok());
  }
  const auto events = store_->ReadEvents("a", 1, 16).value();
  ASSERT_EQ(events.size(), kBytesPerStreamRead / events[0].ByteSizeLong());
  EXPECT_LT(events.size(), 5u);
  for (const v1::JobEvent& event : events) EXPECT_EQ(event.job().spec().calibration().data().size(), 20'000u);
  EXPECT_EQ(store_->ReadEvents("a", 3, 16).value().front().job().revision(), 4);
  Job large = Create("large", SpecOfBytes(1'000'000));
  EXPECT_EQ(store_->ReadEvents("large", 0, 16).value().size(), 1u);
}

TEST_P(BoundedReads, CountsPointsUpToALimitAndSkipsThoseThatAreNotStored) {
  Changes changes;
  for (int i = 0; i < 10; ++i) changes.metrics.push_back({"a", {}, i < 7});
  ASSERT_TRUE(Commit(changes).ok());
  EXPECT_EQ(store_->CountMetrics("a", 100).value(), 7);
  EXPECT_EQ(store_->CountMetrics("a", 5).value(), 5);
  EXPECT_EQ(store_->CountMetrics("b", 5).value(), 0);
}

TEST_P(BoundedReads, ReadsTheTasksOfAJobAlone) {
  const Job job = Create("a");
  const std::vector<v1::Task> tasks = store_->GetTasks("a").value();
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].SerializeAsString(), job.task(0).SerializeAsString());
  EXPECT_THAT(store_->GetTasks("nothing").value(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Stores, BoundedReads, ::testing::ValuesIn(StoreKinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace regroup
