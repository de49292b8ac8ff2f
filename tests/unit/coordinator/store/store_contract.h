// The fixture of tests that every JobStore must pass.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/store/store_home.h"

namespace regroup {

class JobStoreContract : public ::testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override { Open(); }
  void Open(int64_t max_bytes = 0) {
    Close();
    absl::StatusOr<OpenStore> opened = home_->Open(max_bytes);
    ASSERT_TRUE(opened.ok()) << opened.status();
    ownership_ = opened->ownership;
    store_ = std::move(opened->store);
  }
  void Close() {
    store_.reset();
    ownership_.reset();
  }
  static JobChange ChangeOf(const Job& job, const std::optional<Job>& before = std::nullopt) {
    return {job.record(), job.TasksChangedSince(before)};
  }
  /// Stores a new job at revision 1.
  Job Create(const std::string& id, const v1::JobSpec& spec = SmallSpec()) {
    Job job = MakeJob(id, spec);
    job.NextRevision();
    EXPECT_TRUE(Commit({.jobs = {ChangeOf(job)}}).ok());
    return job;
  }
  absl::Status Commit(const Changes& changes) { return store_->Commit(changes); }
  absl::Status CommitChange(Job& job, const Job& before) {
    job.NextRevision();
    return Commit({.jobs = {ChangeOf(job, before)}});
  }
  static JobLog Log(const std::string& job, const std::string& task, int rank, v1::LogSeverity severity,
                    const std::string& message) {
    JobLog log{job, {}};
    log.entry.set_task(task);
    log.entry.set_rank(rank);
    log.entry.set_severity(severity);
    log.entry.set_message(message);
    return log;
  }
  std::vector<std::string> Messages(const LogQuery& query) {
    std::vector<std::string> messages;
    const auto lines = store_->ReadLogs(query);
    EXPECT_TRUE(lines.ok());
    for (const auto& line : *lines) messages.push_back(line.message.message());
    return messages;
  }
  static std::vector<std::string> Names(const JobPage& page) {
    std::vector<std::string> names;
    for (const v1::Job& job : page.jobs) names.push_back(job.name());
    return names;
  }

  const std::unique_ptr<StoreHome> home_ = GetParam().make();
  std::shared_ptr<void> ownership_;
  std::unique_ptr<JobStore> store_;
};

}  // namespace regroup
