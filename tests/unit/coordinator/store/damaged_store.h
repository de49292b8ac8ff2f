// A SQLite store in a folder of its own whose files a test damages.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "coordinator/store/sqlite_job_store.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {

class StoreDamageTest : public ::testing::Test {
 protected:
  StoreDamageTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "checksum_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    file_ = folder_ / "regroup.db";
  }
  ~StoreDamageTest() override { std::filesystem::remove_all(folder_); }

  static auto Open(const std::filesystem::path& file) { return SqliteJobStore::Open({.path = file}); }

  static constexpr int kJobs = 30;

  /// Commits a job with log lines.
  static void Add(SqliteJobStore* store, const std::string& id) {
    Changes changes;
    changes.jobs.push_back({MakeJob(id).record(), {0}});
    for (int line = 0; line < 50; ++line) {
      v1::LogEntry entry;
      entry.set_message(std::string(100, 'm') + std::to_string(line));
      changes.logs.push_back({id, entry});
    }
    ASSERT_TRUE(store->Commit(changes).ok());
  }

  /// Fills a store with jobs and returns it.
  std::unique_ptr<SqliteJobStore> Fill() {
    auto store = Open(file_).value();
    for (int i = 0; i < kJobs; ++i) Add(store.get(), "job-" + std::to_string(i));
    return store;
  }

  void Flip(const std::filesystem::path& file, int64_t bit) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(bit / 8);
    const int byte = stream.get();
    stream.seekp(bit / 8);
    stream.put(static_cast<char>(byte ^ (1 << (bit % 8))));
  }

  std::filesystem::path folder_;
  std::filesystem::path file_;
};

}  // namespace regroup
