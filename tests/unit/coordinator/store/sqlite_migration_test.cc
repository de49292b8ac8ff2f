// Tests that a store of an earlier version is migrated with all its contents, and that one of a later version is
// rejected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "coordinator/store/sqlite_job_store.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

/// The schema of version 1.
constexpr char kVersion1[] = R"sql(
  CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL,
    publication_granted INTEGER NOT NULL, job BLOB NOT NULL);
  CREATE INDEX jobs_by_state ON jobs (state, number);
  CREATE TABLE tasks (job TEXT NOT NULL, position INTEGER NOT NULL, task BLOB NOT NULL,
    restarts_without_progress INTEGER NOT NULL, best_checkpoint INTEGER NOT NULL, internal_failures INTEGER NOT NULL,
    not_before_us INTEGER NOT NULL, PRIMARY KEY (job, position)) WITHOUT ROWID;
  CREATE TABLE events (job TEXT NOT NULL, revision INTEGER NOT NULL, event BLOB NOT NULL,
    PRIMARY KEY (job, revision)) WITHOUT ROWID;
  CREATE TABLE requests (request_id TEXT PRIMARY KEY, digest TEXT NOT NULL, job TEXT NOT NULL) WITHOUT ROWID;
  CREATE INDEX requests_by_job ON requests (job);
  CREATE TABLE workers (id TEXT PRIMARY KEY, worker BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE logs (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, task TEXT NOT NULL,
    rank INTEGER NOT NULL, severity INTEGER NOT NULL, time_us INTEGER NOT NULL, entry BLOB NOT NULL);
  CREATE INDEX logs_by_job ON logs (job, number);
  CREATE TABLE metrics (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, metric TEXT NOT NULL,
    step INTEGER NOT NULL, point BLOB NOT NULL);
  CREATE INDEX metrics_by_job ON metrics (job, number);
  PRAGMA user_version = 1;
)sql";

class SqliteMigration : public ::testing::Test {
 protected:
  SqliteMigration() {
    std::string pattern = (std::filesystem::temp_directory_path() / "migration_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~SqliteMigration() override { std::filesystem::remove_all(folder_); }

  /// Writes the file with the given statements.
  void Write(const std::string& sql) {
    auto connection = SqliteConnection::Open(folder_ / "regroup.db", /*with_checksums=*/false);
    ASSERT_TRUE(connection.ok()) << connection.status();
    const absl::Status status = (*connection)->Execute(sql);
    ASSERT_TRUE(status.ok()) << status;
  }
  absl::StatusOr<std::unique_ptr<SqliteJobStore>> Open() {
    return SqliteJobStore::Open({.path = folder_ / "regroup.db"});
  }

  std::filesystem::path folder_;
};

TEST_F(SqliteMigration, KeepsTheJobsOfVersion1) {
  Write(kVersion1);
  const Job running = MakeJob("running");
  v1::Job finished = MakeJob("finished").proto();
  finished.set_state(v1::JOB_STATE_SUCCEEDED);
  finished.mutable_end_time()->set_seconds(100);
  {
    auto connection = SqliteConnection::Open(folder_ / "regroup.db").value();
    const char* sql = "INSERT INTO jobs (id, state, publication_granted, job) VALUES ($1, $2, 0, $3)";
    const SqlBlob running_job = {WithoutTasks(running.proto()).SerializeAsString()};
    const SqlBlob finished_job = {WithoutTasks(finished).SerializeAsString()};
    const SqlBlob task = {running.task(0).SerializeAsString()};
    ASSERT_TRUE(connection->Run({sql, {"running", int64_t{1}, running_job}}).ok());
    ASSERT_TRUE(connection->Run({sql, {"finished", int64_t{5}, finished_job}}).ok());
    ASSERT_TRUE(connection->Run({"INSERT INTO tasks VALUES ($1, 0, $2, 0, 0, 0, 0)", {"running", task}}).ok());
  }
  for (int start = 0; start < 2; ++start) {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    const auto unfinished = (*store)->LoadUnfinished().value();
    ASSERT_EQ(unfinished.size(), 1u);
    EXPECT_TRUE(Job::Restore(unfinished[0], Time{}).ok());
    EXPECT_EQ((*store)->ListJobs({})->jobs.size(), 2u);
    EXPECT_THAT((*store)->FinishedBefore(Time(std::chrono::seconds(200)), 10).value(),
                ::testing::ElementsAre("finished"))
        << "jobs that ended before the new column existed are not kept forever";
  }
}

TEST_F(SqliteMigration, RefusesAStoreOfALaterVersion) {
  Write("PRAGMA user_version = 999");
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("newer Regroup"));
}

}  // namespace
}  // namespace regroup
