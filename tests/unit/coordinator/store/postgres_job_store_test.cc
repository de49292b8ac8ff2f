// Tests events that only a store on a server can meet: a broken connection, another leader, an unsuitable server.
#include "coordinator/store/postgres_job_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "coordinator/store/postgres_lease.h"
#include "services/common/base/error.h"
#include "services/common/base/files.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/store/cutting_proxy.h"
#include "tests/unit/coordinator/store/postgres_server.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::milliseconds kLong(60000);

Changes NewJob(const std::string& id) {
  Job job = MakeJob(id);
  job.NextRevision();
  return {.jobs = {{job.record(), job.TasksChangedSince(std::nullopt)}}};
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

class PostgresJobStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<PostgresLease> OpenLease(std::chrono::milliseconds duration = kLong) {
    return PostgresLease::Open(url_, "host:1", duration).value();
  }
  /// Opens a store that leads. Its connection goes through the proxy.
  std::unique_ptr<PostgresJobStore> Lead(int64_t fencing) {
    auto store = PostgresJobStore::Open(PostgresServer::UrlByPort(url_, proxy_.port())).value();
    const absl::Status status = store->Lead(fencing);
    EXPECT_TRUE(status.ok()) << status;
    return store;
  }
  /// Returns what a separate connection reads.
  bool IsStored(const std::string& job) { return PostgresJobStore::Open(url_).value()->GetJob(job).ok(); }

  const std::string url_ = PostgresServer::Get().MakeDatabase();
  CuttingProxy proxy_{PostgresServer::Get().socket()};
};

TEST_F(PostgresJobStoreTest, StoresNothingOfALeaderThatWasReplaced) {
  const auto first = OpenLease(std::chrono::milliseconds(1));
  const auto store = Lead(first->TryTake()->value());
  ASSERT_TRUE(store->Commit(NewJob("before")).ok());
  const int64_t fencing = OpenLease()->TryTake()->value();
  const absl::Status status = store->Commit(NewJob("late"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), v1::NOT_LEADER);
  EXPECT_FALSE(IsStored("late"));
  const auto successor = PostgresJobStore::Open(url_).value();
  ASSERT_TRUE(successor->Lead(fencing).ok());
  EXPECT_TRUE(successor->GetJob("before").ok());
  EXPECT_TRUE(successor->Commit(NewJob("after")).ok());
}

TEST_F(PostgresJobStoreTest, DoesNotEvenMigrateForALeaderThatWasReplaced) {
  const int64_t old = OpenLease(std::chrono::milliseconds(1))->TryTake()->value();
  ASSERT_TRUE(OpenLease()->TryTake()->has_value());
  EXPECT_EQ(ReasonOf(PostgresJobStore::Open(url_).value()->Lead(old)), v1::NOT_LEADER);
}

TEST_F(PostgresJobStoreTest, GoesOnAfterItsConnectionIsLost) {
  const auto store = Lead(OpenLease()->TryTake()->value());
  RunSql(url_, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
  EXPECT_TRUE(store->Commit(NewJob("a")).ok());
  RunSql(url_, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
  EXPECT_TRUE(store->GetJob("a").ok());
}

TEST_F(PostgresJobStoreTest, AcknowledgesACommitWhoseAnswerWasLost) {
  const auto store = Lead(OpenLease()->TryTake()->value());
  proxy_.CutAt("COMMIT", CuttingProxy::Cut::kAfterTheServerHasAnswered);
  const absl::Status status = store->Commit(NewJob("a"));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(IsStored("a"));
}

TEST_F(PostgresJobStoreTest, RefusesACommitThatTheServerNeverHeard) {
  const auto store = Lead(OpenLease()->TryTake()->value());
  proxy_.CutAt("COMMIT", CuttingProxy::Cut::kBeforeTheServerHearsIt);
  EXPECT_EQ(ReasonOf(store->Commit(NewJob("a"))), v1::STORE_UNAVAILABLE);
  EXPECT_FALSE(IsStored("a"));
  EXPECT_TRUE(store->Commit(NewJob("a")).ok());
}

TEST_F(PostgresJobStoreTest, TriesAgainWhatBrokeOffBeforeItsEnd) {
  const auto store = Lead(OpenLease()->TryTake()->value());
  for (const char* text : {"BEGIN", "UPDATE regroup.term", "INSERT INTO tasks"}) {
    proxy_.CutAt(text, CuttingProxy::Cut::kBeforeTheServerHearsIt);
    const absl::Status status = store->Commit(NewJob(text[0] == 'B' ? "b" : text[0] == 'U' ? "u" : "i"));
    EXPECT_TRUE(status.ok()) << text << status;
  }
  for (const char* job : {"b", "u", "i"}) EXPECT_TRUE(IsStored(job)) << job;
}

TEST_F(PostgresJobStoreTest, StopsLeadingWhereAnotherLedBeforeTheOutcomeWasKnown) {
  const auto lease = OpenLease(std::chrono::milliseconds(1));
  const auto store = Lead(lease->TryTake()->value());
  proxy_.CutAt("COMMIT", CuttingProxy::Cut::kAfterTheServerHasAnswered);
  proxy_.Admit(false);
  std::thread successor([this] {
    while (!IsStored("a")) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(OpenLease()->TryTake()->has_value());
    proxy_.Admit(true);
  });
  EXPECT_EQ(ReasonOf(store->Commit(NewJob("a"))), v1::NOT_LEADER);
  successor.join();
}

TEST_F(PostgresJobStoreTest, IsNotHeldUpByALeaderThatStandsStillInATransaction) {
  const int64_t old = OpenLease(std::chrono::milliseconds(1))->TryTake()->value();
  const auto stopped = PostgresConnection::Open({.url = url_, .session = PostgresLease::Session()}).value();
  ASSERT_TRUE(stopped->Execute("BEGIN").ok());
  const PostgresGuard guard = PostgresLease::Guard(old);
  ASSERT_TRUE(stopped->Query(guard.enter).value()->Next().value());
  const auto lease = OpenLease();
  absl::StatusOr<std::optional<int64_t>> taken;
  for (int attempt = 0; attempt < 10 && !(taken.ok() && *taken); ++attempt) taken = lease->TryTake();
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_GT(taken->value_or(0), old);
  EXPECT_FALSE(stopped->Execute("COMMIT").ok());
}

TEST_F(PostgresJobStoreTest, GivesTheLeaseToOneOfManyAndAgainAfterItRanOut) {
  std::vector<std::unique_ptr<PostgresLease>> leases;
  for (int i = 0; i < 4; ++i) leases.push_back(OpenLease());
  std::vector<std::thread> threads;
  std::atomic<int64_t> fencing = 0;
  std::atomic<int> count = 0;
  for (const auto& lease : leases) {
    threads.emplace_back([&lease, &fencing, &count] {
      if (const auto taken = lease->TryTake().value()) {
        fencing = *taken;
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 1);
  EXPECT_EQ(leases[0]->Holder().value(), "host:1");
  EXPECT_TRUE(leases[0]->Renew(fencing).value());
  EXPECT_FALSE(leases[0]->Renew(fencing - 1).value());
  ASSERT_TRUE(leases[0]->Release(fencing).ok());
  EXPECT_EQ(leases[1]->Holder().value(), "");
  EXPECT_EQ(leases[1]->TryTake().value(), fencing + 1);
}

TEST_F(PostgresJobStoreTest, RefusesAServerThatDoesNotFitAndSaysWhatToDo) {
  const auto why = [](const std::string& url) { return MessageOf(PostgresJobStore::Open(url).status()); };
  EXPECT_THAT(why("postgresql://127.0.0.1:1/none"), HasSubstr("the store cannot be used"));
  EXPECT_THAT(why(PostgresServer::Get().MakeDatabase("ENCODING 'SQL_ASCII' TEMPLATE template0")),
              HasSubstr("ENCODING 'UTF8'"));
  const std::string read_only = PostgresServer::Get().MakeDatabase();
  RunSql(read_only,
         "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; "
         "END $$");
  EXPECT_THAT(why(read_only), HasSubstr("is read-only"));
}

TEST_F(PostgresJobStoreTest, RefusesTablesOfALaterVersion) {
  (void)Lead(OpenLease(std::chrono::milliseconds(1))->TryTake()->value());
  RunSql(url_, "UPDATE regroup.version SET number = 999");
  const absl::Status status = PostgresJobStore::Open(url_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), HasSubstr("newer Regroup"));
}

TEST_F(PostgresJobStoreTest, ReadsItsAddressFromAFileAndDoesNotShowIt) {
  const std::filesystem::path file = std::filesystem::temp_directory_path() / ("store-url-" + std::to_string(getpid()));
  ASSERT_TRUE(WriteFileAtomically(file, "postgresql://u:secret@h/d\n").ok());
  EXPECT_EQ(ReadStoreUrl(file).value(), "postgresql://u:secret@h/d");
  ASSERT_TRUE(WriteFileAtomically(file, "secret\n").ok());
  const absl::Status status = ReadStoreUrl(file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf(status), ::testing::AllOf(HasSubstr("--store-url-file"), ::testing::Not(HasSubstr("secret"))));
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace regroup
