// regroup_load: simulates many users and workers of a coordinator, for benchmarks and fault tests. Every command prints
// one JSON object.
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <fstream>
#include <functional>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "services/common/base/parent_death.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/security_flags.h"
#include "tests/load/cancel_race.h"
#include "tests/load/echo.h"
#include "tests/load/fault_load.h"
#include "tests/load/heartbeats.h"
#include "tests/load/story.h"
#include "tests/load/submissions.h"
#include "tests/load/watchers.h"

namespace regroup {
namespace {

using Command = std::function<absl::StatusOr<nlohmann::json>()>;

struct Flags {
  LoadOptions users;
  std::string worker_token_file;
  double per_second = 500;
  double seconds = 10;
  std::string names;
  std::string prefix = "load";
  int pages = 100;
  int page_size = 50;
  std::vector<int> states;
  HeartbeatLoad heartbeats;
  WatchLoad watch;
  FaultLoadOptions faults;
  CancelRace race;
  EchoServerOptions echo;
  std::string step_file;

  /// Returns the users' connection, but with the workers' token.
  LoadOptions workers() const {
    LoadOptions workers = users;
    workers.identity.token_file = worker_token_file;
    return workers;
  }
};

absl::StatusOr<nlohmann::json> Submit(const Flags& flags) {
  REGROUP_ASSIGN_OR_RETURN(const Submitted submitted,
                           LoadSubmissions(flags.users, {flags.per_second, flags.seconds, flags.prefix}));
  std::ofstream names(flags.names);
  for (const std::string& name : submitted.names) names << name << "\n";
  return submitted.latencies.ToJson();
}

absl::StatusOr<nlohmann::json> ListNames(const Flags& flags) {
  REGROUP_ASSIGN_OR_RETURN(const auto connection, Connection::Open(flags.users));
  REGROUP_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, ListAll(*connection));
  std::ofstream names(flags.names);
  for (const v1::Job& job : jobs) names << job.name() << "\n";
  return nlohmann::json{{"jobs", jobs.size()}};
}

absl::StatusOr<nlohmann::json> JsonOf(const absl::StatusOr<LatencyReport>& report) {
  if (!report.ok()) return report.status();
  return report->ToJson();
}

void AddConnectionFlags(CLI::App* app, Flags* flags) {
  app->add_option("--coordinator", flags->users.coordinator, "host:port");
  app->add_option("--connections", flags->users.connections, "Number of connections that calls are spread over");
  app->add_option("--worker-token-file", flags->worker_token_file, "Token of the simulated workers");
  AddIdentityFlags(app, &flags->users.identity);
}

void AddMeasurements(CLI::App* app, Flags* flags, Command* command) {
  CLI::App* const submit = app->add_subcommand("submit", "Submits jobs in an open loop");
  submit->add_option("--per-second", flags->per_second);
  submit->add_option("--seconds", flags->seconds);
  submit->add_option("--prefix", flags->prefix, "Prefix of the request ids");
  submit->add_option("--names", flags->names, "File that gets the names of the acknowledged jobs")->required();
  submit->callback([=] { *command = [=] { return Submit(*flags); }; });

  CLI::App* const echo = app->add_subcommand("echo", "Sends the same messages to an echo server");
  echo->add_option("--per-second", flags->per_second);
  echo->add_option("--seconds", flags->seconds);
  echo->callback([=] { *command = [=] { return JsonOf(LoadEcho(flags->users, flags->per_second, flags->seconds)); }; });

  CLI::App* const names = app->add_subcommand("names", "Lists the names of all jobs");
  names->add_option("--names", flags->names)->required();
  names->callback([=] { *command = [=] { return ListNames(*flags); }; });

  CLI::App* const list = app->add_subcommand("list", "Read pages of the list, one after the other");
  list->add_option("--pages", flags->pages);
  list->add_option("--page-size", flags->page_size);
  list->add_option("--state", flags->states, "Number of a JobState; may be repeated");
  list->callback([=] {
    *command = [=] { return JsonOf(LoadLists(flags->users, flags->pages, flags->page_size, flags->states)); };
  });

  CLI::App* const beats = app->add_subcommand("heartbeats", "Simulates idle workers");
  beats->add_option("--workers", flags->heartbeats.workers);
  beats->add_option("--seconds", flags->heartbeats.seconds);
  beats->callback([=] { *command = [=] { return JsonOf(LoadHeartbeats(flags->workers(), flags->heartbeats)); }; });

  CLI::App* const watch = app->add_subcommand("watch", "Simulates watchers of running jobs, some of which do not read");
  watch->add_option("--watchers", flags->watch.watchers);
  watch->add_option("--silent", flags->watch.silent);
  watch->add_option("--jobs", flags->watch.jobs);
  watch->add_option("--seconds", flags->watch.seconds);
  watch->callback([=] { *command = [=] { return LoadWatchers(flags->users, flags->workers(), flags->watch); }; });
}

void AddFaults(CLI::App* app, Flags* flags, Command* command) {
  CLI::App* const faults = app->add_subcommand("faults", "Users and workers that keep working during faults");
  faults->add_option("--until", flags->faults.until, "The load ends when this file exists")->required();
  faults->add_option("--seed", flags->faults.seed);
  faults->add_option("--workers", flags->faults.worker_count);
  faults->add_option("--users", flags->faults.user_count);
  faults->add_option("--jobs-per-second", flags->faults.jobs_per_second, "Submissions a second of one user");
  faults->callback([=] {
    *command = [=] {
      FaultLoadOptions options = flags->faults;
      options.users = flags->users;
      options.workers = flags->workers();
      return RunFaultLoad(options);
    };
  });

  CLI::App* const story = app->add_subcommand("story", "Takes jobs through every state, step by step");
  story->add_option("--step-file", flags->step_file, "File that holds the name of the current step")->required();
  story->callback([=] { *command = [=] { return TellStory({flags->users, flags->workers(), flags->step_file}); }; });

  CLI::App* const race = app->add_subcommand("race", "Cancels jobs just as they end");
  race->add_option("--rounds", flags->race.rounds);
  race->add_option("--seed", flags->race.seed);
  race->callback([=] { *command = [=] { return RaceCancel(flags->users, flags->workers(), flags->race); }; });
}

void AddEchoServer(CLI::App* app, Flags* flags, Command* command) {
  CLI::App* const server = app->add_subcommand("echo-server", "Serve the echo until the process ends");
  server->add_option("--listen", flags->echo.address)->required();
  server->add_option("--port-file", flags->echo.port_file)->required();
  server->callback([=] {
    *command = [=]() -> absl::StatusOr<nlohmann::json> {
      flags->echo.tls = flags->users.identity.tls;
      REGROUP_RETURN_IF_ERROR(ServeEcho(flags->echo));
      return nlohmann::json();
    };
  });
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  if (!regroup::DieWithParent(SIGKILL)) return 1;
  CLI::App app("Loads a coordinator.");
  regroup::Flags flags;
  regroup::Command command;
  app.require_subcommand(1);
  regroup::AddConnectionFlags(&app, &flags);
  regroup::AddMeasurements(&app, &flags, &command);
  regroup::AddFaults(&app, &flags, &command);
  regroup::AddEchoServer(&app, &flags, &command);
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<nlohmann::json> result = command();
  if (!result.ok()) {
    fmt::print(stderr, "regroup_load: {}\n", result.status().ToString());
    return 1;
  }
  fmt::print("{}\n", result->dump());
  return 0;
}
