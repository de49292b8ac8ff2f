// What the streams of JobService send: a job's changes, its logs and its metric points, read from the store.
//
// Each source first sends what is stored, then waits for more until the job is final.
#pragma once

#include <memory>

#include "coordinator/api/stream_pump.h"
#include "coordinator/core/job_feeds.h"
#include "coordinator/store/job_store.h"

namespace regroup {

/// The changes of a job after a revision; without one it starts with the job as it is. Where changes are no longer
/// known, sends the whole job and marks the gap.
std::unique_ptr<StreamSource<v1::JobEvent>> MakeJobEventSource(JobStore* store, const JobFeeds* feeds, std::string job,
                                                               std::optional<int64_t> after_revision);

std::unique_ptr<StreamSource<v1::LogEntry>> MakeLogSource(JobStore* store, const LogQuery& query, int tail_lines,
                                                          bool follow);

std::unique_ptr<StreamSource<v1::MetricPoint>> MakeMetricSource(JobStore* store, const MetricQuery& query, bool follow);

}  // namespace regroup
