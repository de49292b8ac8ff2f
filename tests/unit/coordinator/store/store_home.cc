#include "tests/unit/coordinator/store/store_home.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "coordinator/store/postgres_job_store.h"
#include "coordinator/store/postgres_lease.h"
#include "coordinator/store/sqlite_job_store.h"
#include "services/common/base/status_macros.h"
#include "tests/unit/coordinator/store/postgres_server.h"

namespace regroup {
namespace {

class SqliteHome : public StoreHome {
 public:
  SqliteHome() {
    std::string pattern = (std::filesystem::temp_directory_path() / "job_store_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~SqliteHome() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<OpenStore> Open(int64_t max_bytes) override {
    return OpenFile(folder_ / "regroup.db", max_bytes / 4096);
  }
  void Damage() override {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file << std::string(4096, '\x5a');
    }
  }
  bool CanCopy() const override { return true; }
  absl::StatusOr<OpenStore> OpenCopy(const std::filesystem::path& file) override { return OpenFile(file, 0); }

 private:
  static absl::StatusOr<OpenStore> OpenFile(const std::filesystem::path& file, int64_t max_pages) {
    REGROUP_ASSIGN_OR_RETURN(auto store, SqliteJobStore::Open({.path = file, .max_pages = max_pages}));
    return OpenStore{nullptr, std::move(store)};
  }

  std::filesystem::path folder_;
};

class PostgresHome : public StoreHome {
 public:
  absl::StatusOr<OpenStore> Open(int64_t max_bytes) override {
    REGROUP_ASSIGN_OR_RETURN(auto store, PostgresJobStore::Open(url_));
    REGROUP_ASSIGN_OR_RETURN(auto lease, PostgresLease::Open(url_, "here:1", std::chrono::minutes(1)));
    REGROUP_ASSIGN_OR_RETURN(const std::optional<int64_t> fencing, lease->TryTake());
    if (!fencing) return absl::UnavailableError("the store is in use by another coordinator");
    OpenStore opened;
    opened.ownership = std::shared_ptr<PostgresLease>(lease.release(), [fencing = *fencing](PostgresLease* held) {
      EXPECT_TRUE(held->Release(fencing).ok());
      delete held;
    });
    REGROUP_RETURN_IF_ERROR(store->Lead(fencing.value()));
    if (max_bytes > 0) LimitLogs(max_bytes);
    opened.store = std::move(store);
    return opened;
  }
  void Damage() override { RunSql(url_, "ALTER TABLE regroup.events DROP COLUMN event"); }
  bool CanCopy() const override { return false; }
  absl::StatusOr<OpenStore> OpenCopy(const std::filesystem::path&) override {
    return absl::UnimplementedError("a server cannot be opened as a file");
  }

 private:
  /// A server has no size limit of a few kilobytes, so the tables raise the error of a full disk.
  void LimitLogs(int64_t max_bytes) {
    RunSql(url_, fmt::format(R"sql(
      CREATE FUNCTION regroup.check_size() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT sum(length(entry)) FROM regroup.logs) > {} THEN
          RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END IF;
        RETURN NULL;
      END $$;
      CREATE TRIGGER check_size AFTER INSERT ON regroup.logs EXECUTE FUNCTION regroup.check_size();)sql",
                             max_bytes));
  }

  const std::string url_ = PostgresServer::Get().MakeDatabase();
};

template <typename Home>
StoreKind KindOf(const std::string& name) {
  return {name, [] { return std::make_unique<Home>(); }};
}

}  // namespace

std::vector<StoreKind> StoreKinds() { return {KindOf<SqliteHome>("Sqlite"), KindOf<PostgresHome>("Postgres")}; }

}  // namespace regroup
