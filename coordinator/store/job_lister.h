// Reads a page of jobs from the tables of a SqlJobStore, newest first.
//
// Holds the store's mutex only while it copies a few rows, so that commits do not wait for a filter that looks at many
// jobs; it parses them without. Lives for one call; not thread-safe.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "coordinator/store/job_store.h"
#include "coordinator/store/sql.h"

namespace regroup {

class JobLister {
 public:
  /// All three must outlive the lister. The mutex guards the connection.
  JobLister(SqlConnection* connection, std::mutex* mutex, const JobQuery& query);

  absl::StatusOr<JobPage> List();

 private:
  /// A row of the table of jobs. The job is empty if the filter leaves it out already by its state.
  struct Row {
    int64_t number = 0;
    std::string job;
  };

  SqlCommand Command(int64_t rows) const;
  /// Copies the next rows; the last ones are read when `has_more_` is false.
  absl::StatusOr<std::vector<Row>> ReadRows();
  absl::Status CopyRows(SqlRows& rows, int64_t asked, std::vector<Row>* copies);
  /// Adds the job of a row to the page if it passes the filter. Returns false if the page is full.
  absl::StatusOr<bool> Take(const Row& row);
  bool HasLookedAtEnough() const { return rows_ >= query_.most_rows || bytes_ >= query_.most_bytes; }

  SqlConnection* const connection_;
  std::mutex* const mutex_;
  const JobQuery& query_;
  /// Number of the last row that was read, and whether more may follow.
  int64_t position_;
  bool has_more_ = true;
  /// Rows and bytes read so far.
  size_t rows_ = 0;
  size_t bytes_ = 0;
  /// Number of the last job of the page, and the bytes of all its jobs.
  int64_t last_ = 0;
  size_t page_bytes_ = 0;
  JobPage page_;
};

}  // namespace regroup
