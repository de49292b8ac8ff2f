#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "services/cli/commands.h"
#include "services/cli/follow_job.h"
#include "services/cli/interrupt.h"
#include "services/cli/job_text.h"
#include "services/cli/json_text.h"
#include "services/cli/printable.h"
#include "services/cli/quantity_text.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

void PrintEnd(const v1::Job& job) {
  const Terminal terminal = StandardOutput();
  Print("\n" + (job.state() == v1::JOB_STATE_SUCCEEDED ? ResultText(job, terminal)
                                                       : FailureText(job, RetryOf(job), terminal)));
}

ExitCode Watch(const std::string& job_name, const CommandLine& line) {
  const absl::StatusOr<Client> client = line.Connect();
  if (!client.ok()) return PrintError(client.status(), line.json);
  CountInterrupts();
  std::unique_ptr<ProgressView> view = MakeProgressView(line.json);
  FollowOptions options;
  options.patience = std::chrono::seconds(10);
  options.on_turn = [](const v1::Job&) {
    return Interrupts() > 0 ? absl::CancelledError("stopped watching; the job continues") : absl::OkStatus();
  };
  if (line.json) options.on_event = [](const v1::JobEvent& event) { Print(JsonOf(event, false)); };
  const auto job = FollowJob(*client, FullName(kJobCollection, job_name), *view, options);
  view.reset();
  if (!job.ok()) return PrintError(job.status(), line.json);
  if (!line.json) PrintEnd(Printable(*job));
  return ExitCodeOf(*job);
}

void AddWatch(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("watch", "Follow a job until it ends");
  const auto job = std::make_shared<std::string>();
  command->add_option("job", *job, "The job's id")->required();
  command->callback([&line, job] { line.selected = [job](const CommandLine& chosen) { return Watch(*job, chosen); }; });
}

struct LogsOptions {
  std::string job;
  std::string task;
  std::vector<int> ranks;
  std::string severity;
  int tail_lines = 0;
  bool follow = false;
};

absl::StatusOr<v1::LogSeverity> SeverityNamed(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
  v1::LogSeverity severity{};
  if (v1::LogSeverity_Parse("LOG_SEVERITY_" + word, &severity)) return severity;
  return absl::InvalidArgumentError("--severity must be debug, info, warning or error");
}

absl::StatusOr<v1::StreamLogsRequest> LogsRequest(const LogsOptions& options) {
  v1::StreamLogsRequest request;
  request.set_name(FullName(kJobCollection, options.job));
  request.set_task(options.task);
  for (const int rank : options.ranks) request.add_ranks(rank);
  request.set_tail_lines(options.tail_lines);
  request.set_follow(options.follow);
  if (!options.severity.empty()) {
    REGROUP_ASSIGN_OR_RETURN(const v1::LogSeverity severity, SeverityNamed(options.severity));
    request.set_min_severity(severity);
  }
  return request;
}

std::string LogText(const v1::LogEntry& entry) {
  const std::string severity = v1::LogSeverity_Name(entry.severity()).substr(13);
  return fmt::format("{} {:7} {}/{} rank {}: {}\n", TimeText(entry.time()), severity, entry.task(), entry.epoch(),
                     entry.rank(), entry.message());
}

/// Prints every message of a stream with `show`.
template <typename Request, typename Message, typename Show>
ExitCode PrintStream(std::unique_ptr<grpc::ClientReader<Message>> (Client::JobStub::*method)(grpc::ClientContext*,
                                                                                             const Request&),
                     const Request& request, const CommandLine& line, Show show) {
  const absl::StatusOr<Client> client = line.Connect();
  if (!client.ok()) return PrintError(client.status(), line.json);
  grpc::ClientContext context;
  const absl::Status status = client->Read<Request, Message>(method, context, request, [&](const Message& message) {
    Print(line.json ? JsonOf(message, false) : show(Printable(message)));
    return true;
  });
  return status.ok() ? kExitDone : PrintError(status, line.json);
}

ExitCode Logs(const LogsOptions& options, const CommandLine& line) {
  const auto request = LogsRequest(options);
  if (!request.ok()) return PrintError(request.status(), line.json);
  return PrintStream(&Client::JobStub::StreamLogs, *request, line, LogText);
}

void AddLogs(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("logs", "Show the logs of a job's processes");
  const auto options = std::make_shared<LogsOptions>();
  command->add_option("job", options->job, "The job's id")->required();
  command->add_option("--task", options->task, "Only this task, for example finetune");
  command->add_option("--rank", options->ranks, "Only these ranks");
  command->add_option("--severity", options->severity, "Minimum severity: debug, info, warning or error");
  command->add_option("--tail", options->tail_lines, "Show only the last N lines first")->check(CLI::NonNegativeNumber);
  command->add_flag("-f,--follow", options->follow, "Keep following until the job ends");
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return Logs(*options, chosen); }; });
}

struct MetricsOptions {
  std::string job;
  std::vector<std::string> metrics;
  int64_t after_step = 0;
  bool follow = false;
};

std::string MetricText(const v1::MetricPoint& point) {
  return fmt::format("{:20} step {:>8}  {:24} {}\n", point.task(), point.step(), point.metric(), point.value());
}

ExitCode Metrics(const MetricsOptions& options, const CommandLine& line) {
  v1::StreamMetricsRequest request;
  request.set_name(FullName(kJobCollection, options.job));
  for (const std::string& metric : options.metrics) request.add_metrics(metric);
  request.set_after_step(options.after_step);
  request.set_follow(options.follow);
  return PrintStream(&Client::JobStub::StreamMetrics, request, line, MetricText);
}

void AddMetrics(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("metrics", "Show the points of a job's training curves");
  const auto options = std::make_shared<MetricsOptions>();
  command->add_option("job", options->job, "The job's id")->required();
  command->add_option("--metric", options->metrics, "Only these metrics, for example loss");
  command->add_option("--after-step", options->after_step, "Only points after this step");
  command->add_flag("-f,--follow", options->follow, "Keep following until the job ends");
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return Metrics(*options, chosen); }; });
}

}  // namespace

void AddStreamCommands(CLI::App& app, CommandLine& line) {
  AddWatch(app, line);
  AddLogs(app, line);
  AddMetrics(app, line);
}

}  // namespace regroup
