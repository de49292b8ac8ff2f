#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "services/cli/commands.h"
#include "services/cli/job_text.h"
#include "services/cli/json_text.h"
#include "services/cli/printable.h"
#include "services/cli/progress_lines.h"
#include "services/cli/quantity_text.h"
#include "services/cli/text_table.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"

namespace regroup {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// Returns everything about one job as text, for a terminal or a pipe.
std::string JobText(const v1::Job& job) {
  const Terminal terminal = StandardOutput();
  Terminal unlimited = terminal;
  unlimited.rows = 1 << 16;
  std::string text;
  for (const std::string& line : ProgressLines(job, Now(), unlimited)) text += line + "\n";
  const bool failed = job.state() == v1::JOB_STATE_FAILED;
  if (failed) return text + "\n" + FailureText(job, RetryOf(job), terminal);
  const std::string result = ResultText(job, terminal);
  return result.empty() ? text : text + "\n" + result;
}

ExitCode PrintJob(const absl::StatusOr<v1::Job>& job, bool json) {
  if (!job.ok()) return PrintError(job.status(), json);
  Print(json ? JsonOf(*job) : JobText(Printable(*job)));
  return kExitDone;
}

struct SubmitOptions {
  std::string file;
  std::string job_id;
  std::string request_id;
  /// A W3C trace context; empty takes none along.
  std::string traceparent;
  bool validate_only = false;
};

absl::StatusOr<v1::Job> SubmitWith(const std::string& traceparent, const v1::SubmitJobRequest& request,
                                   const CommandLine& line) {
  REGROUP_ASSIGN_OR_RETURN(const Client client, line.Connect());
  return client.Submit(request, traceparent.empty() ? TraceparentOfEnvironment() : traceparent);
}

/// A malformed value of the variable is ignored; one that was typed is a mistake.
std::string TraceparentProblem(const std::string& text) {
  return IsTraceparent(text) ? "" : "must be a W3C traceparent: 00-<32 digits>-<16 digits>-<2 digits>";
}

ExitCode Submit(const SubmitOptions& options, const CommandLine& line) {
  const auto file = ReadCheckedJobFile(options.file);
  if (!file.ok()) return PrintError(file.status(), line.json);
  v1::SubmitJobRequest request;
  *request.mutable_spec() = file->spec;
  request.set_job_id(options.job_id);
  request.set_request_id(options.request_id);
  request.set_validate_only(options.validate_only);
  const auto job = SubmitWith(options.traceparent, request, line);
  if (!job.ok()) return PrintError(job.status(), line.json);
  if (line.json) {
    Print(JsonOf(*job));
  } else if (options.validate_only) {
    Print(fmt::format("{} is valid\n", options.file));
  } else {
    const std::string id = LastSegment(job->name());
    Print(fmt::format("{} is {}; follow it with: regroup watch {}\n", job->name(), EnumWord(job->state()), id));
  }
  return kExitDone;
}

void AddSubmit(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("submit", "Submit a job file");
  const auto options = std::make_shared<SubmitOptions>();
  command->add_option("file", options->file, "The job file")->required();
  command->add_option("--job-id", options->job_id, "Id of the job; default: its name and a random suffix");
  command->add_option("--request-id", options->request_id,
                      "Id of this request; repeating it with the same file returns the first job");
  command
      ->add_option("--traceparent", options->traceparent,
                   "W3C trace context, which the job and its logs keep; default: the variable TRACEPARENT")
      ->check(CLI::Validator(TraceparentProblem, "TRACEPARENT"));
  command->add_flag("--validate-only", options->validate_only, "Check the job file without submitting it");
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return Submit(*options, chosen); }; });
}

struct ListOptions {
  std::vector<std::string> states;
  std::vector<std::string> labels;
  int limit = 50;
};

/// Returns JOB_STATE_FAILED for "failed". INVALID_ARGUMENT for an unknown word.
absl::StatusOr<v1::JobState> StateNamed(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
  v1::JobState state{};
  if (v1::JobState_Parse("JOB_STATE_" + word, &state)) return state;
  return absl::InvalidArgumentError(
      "--state must be queued, running, recovering, pausing, paused, cancelling, succeeded, failed or cancelled");
}

absl::StatusOr<v1::ListJobsRequest> ListRequest(const ListOptions& options) {
  v1::ListJobsRequest request;
  for (const std::string& word : options.states) {
    REGROUP_ASSIGN_OR_RETURN(const v1::JobState state, StateNamed(word));
    request.add_states(state);
  }
  for (const std::string& label : options.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos) return absl::InvalidArgumentError("--label must be key=value");
    (*request.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return request;
}

std::string ListText(const v1::ListJobsResponse& list) {
  if (list.jobs().empty()) return "no jobs\n";
  TextTable table({"JOB", "STATE", "CREATED", "TOOK", "NOTE"});
  for (const v1::Job& job : list.jobs()) {
    const std::string note = job.waiting_reason().empty() ? job.failure().message() : job.waiting_reason();
    table.Add({LastSegment(job.name()), EnumWord(job.state()), TimeText(job.create_time()),
               job.has_start_time() ? DurationText(JobSeconds(job, Now())) : "", note});
  }
  return table.Render() + (list.next_page_token().empty() ? "" : "(more: raise --limit)\n");
}

ExitCode List(const ListOptions& options, const CommandLine& line) {
  const auto request = ListRequest(options);
  if (!request.ok()) return PrintError(request.status(), line.json);
  const auto list =
      ReadPages(line, &Client::JobStub::ListJobs, *request, &v1::ListJobsResponse::mutable_jobs, options.limit);
  if (!list.ok()) return PrintError(list.status(), line.json);
  Print(line.json ? JsonOf(*list) : ListText(Printable(*list)));
  return kExitDone;
}

void AddList(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("list", "List jobs, newest first");
  const auto options = std::make_shared<ListOptions>();
  command->add_option("--state", options->states, "Only jobs in these states");
  command->add_option("--label", options->labels, "Only jobs with this label: key=value");
  command->add_option("--limit", options->limit, "Maximum number of jobs")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return List(*options, chosen); }; });
}

/// Adds a command whose request consists of the job's name.
template <typename Request, typename Response, typename Show>
void AddByName(CLI::App& app, CommandLine& line, const char* name, const char* description,
               grpc::Status (Client::JobStub::*method)(grpc::ClientContext*, const Request&, Response*), Show show) {
  CLI::App* const command = app.add_subcommand(name, description);
  const auto job = std::make_shared<std::string>();
  command->add_option("job", *job, "The job's id")->required();
  command->callback([&line, job, method, show] {
    line.selected = [job, method, show](const CommandLine& chosen) -> ExitCode {
      Request request;
      request.set_name(FullName(kJobCollection, *job));
      return show(chosen.Call(method, request), *job, chosen.json);
    };
  });
}

ExitCode ShowJob(const absl::StatusOr<v1::Job>& job, const std::string&, bool json) { return PrintJob(job, json); }

ExitCode ShowState(const absl::StatusOr<v1::Job>& job, const std::string&, bool json) {
  if (!job.ok() || json) return PrintJob(job, json);
  Print(fmt::format("{} is {}\n", job->name(), EnumWord(job->state())));
  return kExitDone;
}

ExitCode ShowDeleted(const absl::StatusOr<google::protobuf::Empty>& reply, const std::string& job, bool json) {
  if (!reply.ok()) return PrintError(reply.status(), json);
  Print(json ? "{}\n" : fmt::format("{} is deleted\n", FullName(kJobCollection, job)));
  return kExitDone;
}

}  // namespace

void AddJobCommands(CLI::App& app, CommandLine& line) {
  AddSubmit(app, line);
  AddByName(app, line, "get", "Show one job", &Client::JobStub::GetJob, ShowJob);
  AddList(app, line);
  AddByName(app, line, "cancel", "Stop a job", &Client::JobStub::CancelJob, ShowState);
  AddByName(app, line, "retry", "Restart the unfinished tasks of a failed or cancelled job", &Client::JobStub::RetryJob,
            ShowState);
  AddByName(app, line, "pause",
            "Stop a job's tasks, training after a checkpoint, and free their slots until it is resumed",
            &Client::JobStub::PauseJob, ShowState);
  AddByName(app, line, "resume", "Let a paused job go on", &Client::JobStub::ResumeJob, ShowState);
  AddByName(app, line, "delete", "Delete a finished job and its working files; published checkpoints stay",
            &Client::JobStub::DeleteJob, ShowDeleted);
}

}  // namespace regroup
