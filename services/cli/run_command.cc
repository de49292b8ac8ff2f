#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <memory>
#include <thread>

#include "services/cli/commands.h"
#include "services/cli/follow_job.h"
#include "services/cli/interrupt.h"
#include "services/cli/job_text.h"
#include "services/cli/json_text.h"
#include "services/cli/local_cluster.h"
#include "services/cli/local_slots.h"
#include "services/cli/printable.h"
#include "services/cli/stage_summary.h"
#include "services/cli/submit_once.h"
#include "services/common/base/final_states.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/address.h"
#include "services/common/job_file/resolve_job_spec.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

struct RunOptions {
  std::string file;
  std::string work_folder = "regroup-work";
  int workers = 1;
  /// 0: chosen by SlotsFor.
  int slots = 0;
};

JobCalls CallsOf(const Client& client) {
  return {.submit = [&client](const auto& request) { return client.Submit(request, TraceparentOfEnvironment()); },
          .retry = [&client](const auto& request) { return client.Call(&Client::JobStub::RetryJob, request); },
          .resume = [&client](const auto& request) { return client.Call(&Client::JobStub::ResumeJob, request); },
          .result_exists =
              [](const v1::Job& job) {
                const std::string& published = job.resolved_spec().output().checkpoint();
                // If the result went to a bucket, the job's own copy of the report shows that it was finished.
                const bool is_here = !published.empty() && !IsAddress(published);
                const std::string& expected = is_here ? published : job.report_folder();
                return expected.empty() || Exists(expected);
              }};
}

/// Attends to a running job: restarts dead programs and cancels on Ctrl-C.
class Attendant {
 public:
  Attendant(const Client& client, LocalCluster& cluster, ProgressView& view)
      : client_(client), cluster_(cluster), view_(view) {}

  absl::Status OnTurn(const v1::Job& job) {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> notes, cluster_.Supervise());
    for (const std::string& note : notes) view_.Note(note);
    const int interrupts = Interrupts();
    if (interrupts > 1)
      return absl::CancelledError("stopped without waiting for the cancellation; run it again to resume");
    if (interrupts == 1 && !cancelled_ && !job.name().empty()) return Cancel(job);
    return absl::OkStatus();
  }

 private:
  absl::Status Cancel(const v1::Job& job) {
    cancelled_ = true;
    view_.Note("cancelling; press Ctrl-C again to stop at once");
    v1::CancelJobRequest request;
    request.set_name(job.name());
    const absl::Status status = client_.Call(&Client::JobStub::CancelJob, request).status();
    if (!absl::IsFailedPrecondition(status)) return status;
    view_.Note(std::string(status.message()));
    return absl::OkStatus();
  }

  const Client& client_;
  LocalCluster& cluster_;
  ProgressView& view_;
  bool cancelled_ = false;
};

absl::StatusOr<v1::Job> SubmitAndFollow(const v1::JobSpec& spec, LocalCluster& cluster, bool json) {
  REGROUP_ASSIGN_OR_RETURN(const Client client, Client::Open(cluster.address()));
  REGROUP_ASSIGN_OR_RETURN(const v1::Job job, SubmitOnce(spec, CallsOf(client)));
  if (IsFinalState(job.state())) return job;
  const std::unique_ptr<ProgressView> view = MakeProgressView(json);
  Attendant attendant(client, cluster, *view);
  FollowOptions options;
  options.on_turn = [&](const v1::Job& now) { return attendant.OnTurn(now); };
  return FollowJob(client, job.name(), *view, options);
}

void PrintEnd(const v1::Job& job, const RunOptions& options) {
  const Terminal terminal = StandardOutput();
  const Continuation again = {.command = fmt::format("regroup run {} --work-dir {}", options.file, options.work_folder),
                              .reads_job_file = true};
  Print("\n" +
        (job.state() == v1::JOB_STATE_SUCCEEDED ? ResultText(job, terminal) : FailureText(job, again, terminal)));
}

absl::StatusOr<v1::Job> RunEmbedded(const RunOptions& options, const CommandLine& line) {
  // A reader of the output that ends, as in `regroup run job.yaml | head`, must not end the job.
  std::signal(SIGPIPE, SIG_IGN);
  if (options.work_folder.empty()) return absl::InvalidArgumentError("--work-dir: write the name of a folder");
  REGROUP_ASSIGN_OR_RETURN(const JobFile file, ReadCheckedJobFile(options.file));
  LocalClusterOptions cluster_options;
  const v1::JobSpec resolved = ResolveJobSpec(file.spec);
  const LocalHardware hardware = ThisHardware();
  REGROUP_ASSIGN_OR_RETURN(cluster_options.slots,
                           SlotsFor({.workers = options.workers, .slots = options.slots}, resolved, hardware));
  cluster_options.device = UsesGpus(resolved, hardware) ? "cuda" : "cpu";
  cluster_options.work_folder = Absolute(options.work_folder).lexically_normal();
  cluster_options.workers = options.workers;
  CountInterrupts();
  REGROUP_ASSIGN_OR_RETURN(LocalCluster cluster, LocalCluster::Start(cluster_options));
  return SubmitAndFollow(file.spec, cluster, line.json);
}

ExitCode Run(const RunOptions& options, const CommandLine& line) {
  const auto job = RunEmbedded(options, line);
  if (!job.ok()) return PrintError(job.status(), line.json);
  if (line.json) {
    Print(JsonOf(*job));
  } else {
    PrintEnd(Printable(*job), options);
  }
  return ExitCodeOf(*job);
}

}  // namespace

void AddRunCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command =
      app.add_subcommand("run", "Convert a model on this machine with a local coordinator and workers");
  const auto options = std::make_shared<RunOptions>();
  command->add_option("file", options->file, "The job file")->required();
  command->add_option("--work-dir", options->work_folder, "Folder of the store, logs, statistics and checkpoints")
      ->capture_default_str();
  command->add_option("--workers", options->workers, "Number of workers to start")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command
      ->add_option("--slots", options->slots,
                   "Maximum number of processes per worker; default: as many as the job needs")
      ->check(CLI::Range(1, 1024));
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return Run(*options, chosen); }; });
}

}  // namespace regroup
