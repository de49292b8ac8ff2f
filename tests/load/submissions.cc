#include "tests/load/submissions.h"

#include <mutex>

#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

struct PendingSubmission {
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  v1::Job response;
};

/// Submits jobs and keeps the names of those that were acknowledged.
class Submitter {
 public:
  Submitter(const Connection& connection, int stubs, std::string prefix) : prefix_(std::move(prefix)) {
    for (int i = 0; i < stubs; ++i) stubs_.push_back(connection.jobs());
  }

  void Start(int number, const Answered& answered) {
    auto call = std::make_shared<PendingSubmission>();
    call->context.set_deadline(std::chrono::system_clock::now() + kCallPatience);
    call->request = LoadRequest(prefix_ + "-" + std::to_string(number));
    stubs_[static_cast<size_t>(number) % stubs_.size()]->async()->SubmitJob(
        &call->context, &call->request, &call->response, [this, call, answered](const grpc::Status& status) {
          if (status.ok()) Keep(call->response.name());
          answered(FromGrpc(status));
        });
  }

  std::vector<std::string> TakeNames() {
    const std::lock_guard lock(mutex_);
    return std::move(names_);
  }

 private:
  void Keep(const std::string& name) {
    const std::lock_guard lock(mutex_);
    names_.push_back(name);
  }

  const std::string prefix_;
  std::vector<std::unique_ptr<v1::JobService::Stub>> stubs_;
  std::mutex mutex_;
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<Submitted> LoadSubmissions(const LoadOptions& options, const SubmissionLoad& load) {
  REGROUP_ASSIGN_OR_RETURN(const auto connection, Connection::Open(options));
  Submitter submitter(*connection, options.connections, load.prefix);
  Submitted submitted;
  submitted.latencies = RunOpenLoop(load.per_second, load.seconds,
                                    [&](int call, const Answered& answered) { submitter.Start(call, answered); });
  submitted.names = submitter.TakeNames();
  return submitted;
}

absl::StatusOr<std::vector<v1::Job>> ListAll(const Connection& connection, int page_size) {
  const auto stub = connection.jobs();
  std::vector<v1::Job> jobs;
  v1::ListJobsRequest request;
  request.set_page_size(page_size);
  while (true) {
    v1::ListJobsResponse page;
    REGROUP_RETURN_IF_ERROR(Call(*stub, &v1::JobService::Stub::ListJobs, request, &page));
    jobs.insert(jobs.end(), page.jobs().begin(), page.jobs().end());
    if (page.next_page_token().empty()) return jobs;
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<LatencyReport> LoadLists(const LoadOptions& options, int pages, int page_size,
                                        const std::vector<int>& states) {
  REGROUP_ASSIGN_OR_RETURN(const auto connection, Connection::Open(options));
  const auto stub = connection->jobs();
  v1::ListJobsRequest request;
  request.set_page_size(page_size);
  for (const int state : states) request.add_states(static_cast<v1::JobState>(state));
  LatencyReport report;
  for (int page = 0; page < pages; ++page) {
    v1::ListJobsResponse response;
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status status = Call(*stub, &v1::JobService::Stub::ListJobs, request, &response);
    if (!status.ok()) {
      report.AddFailure(status);
      continue;
    }
    report.Add(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    request.set_page_token(response.next_page_token());
  }
  return report;
}

}  // namespace regroup
