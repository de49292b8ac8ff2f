#include "coordinator/store/commit_commands.h"

#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

using Commands = std::vector<SqlCommand>;

template <typename Message>
SqlBlob BlobOf(const Message& message) {
  return {message.SerializeAsString()};
}

void WriteTask(const std::string& id, const JobRecord& record, size_t position, Commands* commands) {
  const RetryState& retry = record.retries[position];
  commands->push_back(
      {"INSERT INTO tasks (job, position, task, restarts_without_progress, best_checkpoint, internal_failures, "
       "not_before_us, started_us, took_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (job, position) DO "
       "UPDATE SET task = "
       "excluded.task, restarts_without_progress = excluded.restarts_without_progress, best_checkpoint = "
       "excluded.best_checkpoint, internal_failures = excluded.internal_failures, not_before_us = "
       "excluded.not_before_us, started_us = excluded.started_us, took_us = excluded.took_us",
       {id, static_cast<int64_t>(position), BlobOf(record.job.tasks(static_cast<int>(position))),
        retry.restarts_without_progress, retry.best_checkpoint, retry.internal_failures, MicrosOf(retry.not_before),
        MicrosOf(retry.started), int64_t{retry.took.count()}}});
}

void WriteJob(const JobChange& change, Commands* commands) {
  const v1::Job& job = change.record.job;
  const std::string id = LastSegment(job.name());
  commands->push_back(
      {"INSERT INTO jobs (id, state, publication_granted, job, owner, end_us, run_start_us, pause_start_us) "
       "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET state = excluded.state, "
       "publication_granted = excluded.publication_granted, job = excluded.job, end_us = excluded.end_us, "
       "run_start_us = excluded.run_start_us, pause_start_us = excluded.pause_start_us",
       {id, int64_t{job.state()}, int64_t{change.record.publication_granted}, BlobOf(WithoutTasks(job)), job.owner(),
        MicrosOf(FromProto(job.end_time())), MicrosOf(change.record.run_start), MicrosOf(change.record.pause_start)}});
  for (const size_t position : change.changed_tasks) WriteTask(id, change.record, position, commands);
  commands->push_back({"INSERT INTO events (job, revision, event) VALUES ($1, $2, $3)",
                       {id, int64_t{job.revision()}, BlobOf(EventOf(change))}});
  commands->push_back(
      {"DELETE FROM events WHERE job = $1 AND revision <= $2", {id, int64_t{job.revision()} - kEventsKept}});
}

void WriteLog(const JobLog& log, Commands* commands) {
  commands->push_back({"INSERT INTO logs (job, task, rank, severity, time_us, entry) VALUES ($1, $2, $3, $4, $5, $6)",
                       {log.job, log.entry.task(), int64_t{log.entry.rank()}, int64_t{log.entry.severity()},
                        MicrosOf(FromProto(log.entry.time())), BlobOf(log.entry)}});
}

void WriteMetric(const JobMetric& metric, Commands* commands) {
  commands->push_back(
      {"INSERT INTO metrics (job, metric, step, point) VALUES ($1, $2, $3, $4)",
       {metric.job, metric.point.metric(), static_cast<int64_t>(metric.point.step()), BlobOf(metric.point)}});
}

void DeleteJob(const std::string& job, Commands* commands) {
  for (const char* text : {"DELETE FROM jobs WHERE id = $1", "DELETE FROM tasks WHERE job = $1",
                           "DELETE FROM events WHERE job = $1", "DELETE FROM requests WHERE job = $1",
                           "DELETE FROM logs WHERE job = $1", "DELETE FROM metrics WHERE job = $1"}) {
    commands->push_back({text, {job}});
  }
}

}  // namespace

Commands CommandsFor(const Changes& changes) {
  Commands commands;
  for (const JobChange& change : changes.jobs) WriteJob(change, &commands);
  for (const SubmittedRequest& request : changes.requests) {
    commands.push_back({"INSERT INTO requests (request_id, digest, job) VALUES ($1, $2, $3)",
                        {request.request_id, request.digest, request.job}});
  }
  for (const v1::Worker& worker : changes.workers) {
    commands.push_back(
        {"INSERT INTO workers (id, worker) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET worker = excluded.worker",
         {LastSegment(worker.name()), BlobOf(worker)}});
  }
  for (const JobLog& log : changes.logs) WriteLog(log, &commands);
  for (const JobMetric& metric : changes.metrics) {
    if (metric.is_stored) WriteMetric(metric, &commands);
  }
  for (const v1::AuditEntry& entry : changes.audit) {
    commands.push_back({"INSERT INTO audit (time_us, resource, entry) VALUES ($1, $2, $3)",
                        {MicrosOf(FromProto(entry.time())), entry.resource(), BlobOf(entry)}});
  }
  for (const std::string& job : changes.deleted_jobs) DeleteJob(job, &commands);
  for (const Delivery& delivery : changes.deliveries) {
    commands.push_back(
        {"INSERT INTO deliveries (id, hook, body, created_us, failures, not_before_us) VALUES ($1, $2, $3, $4, $5, $6) "
         "ON "
         "CONFLICT (id) DO UPDATE SET failures = excluded.failures, not_before_us = excluded.not_before_us",
         {delivery.id, delivery.hook, SqlBlob{delivery.body}, delivery.created_us, delivery.failures,
          delivery.not_before_us}});
  }
  for (const std::string& id : changes.finished_deliveries) {
    commands.push_back({"DELETE FROM deliveries WHERE id = $1", {id}});
  }
  if (changes.clock) {
    const ClockReading& clock = *changes.clock;
    commands.push_back(
        {"INSERT INTO clock (id, boot, since_boot_us, count_us) VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET "
         "boot = excluded.boot, since_boot_us = excluded.since_boot_us, count_us = excluded.count_us",
         {clock.boot.boot, int64_t{clock.boot.since.count()}, MicrosOf(clock.count)}});
  }
  return commands;
}

}  // namespace regroup
