// Sources for the streams of JobService: a job's changes, its logs and its metric points, read from the store.
//
// Each source first sends what is stored, then waits for more until the job is final.
#pragma once

#include <memory>

#include "coordinator/api/stream_pump.h"
#include "coordinator/core/job_feeds.h"
#include "coordinator/store/job_store.h"

namespace regroup {

/// Sends the changes of a job after a revision; without a revision it starts with the job as it is. If changes are no
/// longer stored, it sends the whole job and marks the gap.
std::unique_ptr<StreamSource<v1::JobEvent>> MakeJobEventSource(JobStore* store, const JobFeeds* feeds, std::string job,
                                                               std::optional<int64_t> after_revision);

std::unique_ptr<StreamSource<v1::LogEntry>> MakeLogSource(JobStore* store, const LogQuery& query, int tail_lines,
                                                          bool follow);

std::unique_ptr<StreamSource<v1::MetricPoint>> MakeMetricSource(JobStore* store, const MetricQuery& query, bool follow);

}  // namespace regroup
