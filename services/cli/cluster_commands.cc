#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <limits>
#include <memory>

#include "services/cli/commands.h"
#include "services/cli/json_text.h"
#include "services/cli/printable.h"
#include "services/cli/quantity_text.h"
#include "services/cli/text_table.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Returns "JOB:TASK" for the name of a task.
std::string ShortTaskName(const std::string& name) {
  const std::optional<TaskNameParts> parts = ParseTaskName(name);
  return parts ? fmt::format("{}:{}", parts->job, parts->task) : name;
}

std::string WorkersText(const v1::ListWorkersResponse& list) {
  if (list.workers().empty())
    return "no workers; start one with: regroup-worker --coordinator HOST:PORT --work-dir DIR\n";
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  TextTable table({"WORKER", "STATE", "SLOTS", "DEVICE", "HOST", "HEARD", "RUNS"});
  for (const v1::Worker& worker : list.workers()) {
    std::string running;
    for (const std::string& task : worker.running_tasks())
      running += (running.empty() ? "" : " ") + ShortTaskName(task);
    const double age = worker.has_heartbeat_time() ? now - SecondsOf(worker.heartbeat_time()) : 0;
    table.Add({LastSegment(worker.name()), EnumWord(worker.state()),
               fmt::format("{}/{}", worker.busy_slots(), worker.slots()), worker.device(), worker.host(),
               worker.has_heartbeat_time() ? DurationText(age) + " ago" : "", running});
  }
  return table.Render();
}

ExitCode Workers(const CommandLine& line) {
  const auto list = ReadPages(line, &Client::ClusterStub::ListWorkers, v1::ListWorkersRequest(),
                              &v1::ListWorkersResponse::mutable_workers, std::numeric_limits<int>::max());
  if (!list.ok()) return PrintError(list.status(), line.json);
  Print(line.json ? JsonOf(*list) : WorkersText(Printable(*list)));
  return kExitDone;
}

std::string RefusalText(const v1::AuditEntry& entry) {
  if (entry.refusals_left_out() == 0) return entry.refusal();
  return fmt::format("{} ({} more before)", entry.refusal(), entry.refusals_left_out());
}

std::string AuditText(const v1::ListAuditEntriesResponse& list) {
  if (list.entries().empty()) return "no audit entries\n";
  TextTable table({"TIME", "WHO", "ROLE", "FROM", "DID", "TO", "REFUSED"});
  for (const v1::AuditEntry& entry : list.entries()) {
    table.Add({google::protobuf::util::TimeUtil::ToString(entry.time()), entry.caller(), entry.role(), entry.peer(),
               entry.method(), entry.resource(), RefusalText(entry)});
  }
  return table.Render();
}

ExitCode AuditLog(const v1::ListAuditEntriesRequest& request, int limit, const CommandLine& line) {
  const auto list = ReadPages(line, &Client::ClusterStub::ListAuditEntries, request,
                              &v1::ListAuditEntriesResponse::mutable_entries, limit);
  if (!list.ok()) return PrintError(list.status(), line.json);
  Print(line.json ? JsonOf(*list) : AuditText(Printable(*list)));
  return kExitDone;
}

void AddAuditCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("audit", "Show who changed what, newest first");
  const auto resource = std::make_shared<std::string>();
  const auto limit = std::make_shared<int>(100);
  command->add_option("--resource", *resource, "Only changes of this resource: jobs/JOB or workers/WORKER");
  command->add_option("--limit", *limit, "Maximum number of entries")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->callback([&line, resource, limit] {
    line.selected = [resource, limit](const CommandLine& chosen) {
      v1::ListAuditEntriesRequest request;
      request.set_resource(*resource);
      return AuditLog(request, *limit, chosen);
    };
  });
}

template <typename Request>
void AddByName(CLI::App& app, CommandLine& line, const char* name, const char* description,
               grpc::Status (Client::ClusterStub::*method)(grpc::ClientContext*, const Request&, v1::Worker*)) {
  CLI::App* const command = app.add_subcommand(name, description);
  const auto id = std::make_shared<std::string>();
  command->add_option("worker", *id, "The worker's id")->required();
  command->callback([&line, id, method] {
    line.selected = [id, method](const CommandLine& chosen) -> ExitCode {
      Request request;
      request.set_name(FullName(kWorkerCollection, *id));
      const auto worker = chosen.Call(method, request);
      if (!worker.ok()) return PrintError(worker.status(), chosen.json);
      Print(chosen.json ? JsonOf(*worker)
                        : fmt::format("{} is {}\n", Printable(*worker).name(), EnumWord(worker->state())));
      return kExitDone;
    };
  });
}

}  // namespace

void AddClusterCommands(CLI::App& app, CommandLine& line) {
  app.add_subcommand("workers", "List the workers")->callback([&line] { line.selected = Workers; });
  AddByName(app, line, "drain", "Let a worker finish its tasks and accept no new ones",
            &Client::ClusterStub::DrainWorker);
  AddAuditCommand(app, line);
  AddByName(app, line, "undrain", "Let a drained worker accept tasks again", &Client::ClusterStub::UndrainWorker);
}

}  // namespace regroup
