// regroup-coordinator: reads its flags, starts a Coordinator and stops it on SIGTERM or SIGINT; or runs one of its
// commands.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>

#include <CLI/CLI.hpp>

#include "coordinator/api/coordinator.h"
#include "coordinator/main/access_commands.h"
#include "coordinator/main/backup_command.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/parent_death.h"
#include "services/common/base/paths.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/address.h"
#include "services/common/programs/man_page.h"
#include "services/common/rpc/connection_limit.h"
#include "services/common/rpc/security_flags.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kStopGrace(5000);
constexpr int kUsageError = 2;

struct Flags {
  CoordinatorOptions options;
  int lease_s = 10;
  int heartbeat_s = 2;
  int watchdog_s = 300;
  int slow_task_s = 30;
  int shrink_after_s = 300;
  int pause_limit_s = 300;
  bool preempts = false;
  int keep_finished_days = 0;
  int leader_lease_s = 4;
  int plan_timeout_s = 60;
  int plan_memory_mib = 768;
  int64_t memory_mib = 0;
  int64_t max_log_mib_per_job = 64;
  int jwt_leeway_s = 60;
  int jwt_refresh_s = 300;
  std::string port_file;
  std::string metrics_port_file;
  std::string log_format = "json";
  bool die_with_parent = false;
};

void AddJwtFlags(CLI::App* app, Flags* flags) {
  JwtOptions* const jwt = &flags->options.jwt;
  app->add_option("--jwt-keys", jwt->keys,
                  "File or https URL of a JSON Web Key Set: callers may identify themselves by JWTs of its issuer");
  app->add_option("--jwt-issuer", jwt->claims.issuer, "With --jwt-keys: the value of a JWT's iss");
  app->add_option("--jwt-audience", jwt->claims.audience, "With --jwt-keys: a value of a JWT's aud");
  app->add_option("--jwt-roles", jwt->roles, "With --jwt-keys: YAML file with the rules that give claims a role");
  app->add_option(
         "--jwt-refresh-s", flags->jwt_refresh_s,
         "With a URL in --jwt-keys: seconds between two downloads of the keys; an unknown key causes one sooner")
      ->check(CLI::Range(10, 86400))
      ->capture_default_str();
  app->add_option("--jwt-leeway-s", flags->jwt_leeway_s,
                  "With --jwt-keys: difference in seconds that clocks may have when the times of a JWT are checked")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
}

/// Without issuer, audience or rules, a token that was made for another service would be admitted.
absl::Status CheckJwtFlags(const JwtOptions& jwt) {
  const std::array<bool, 4> given = {!jwt.keys.empty(), !jwt.claims.issuer.empty(), !jwt.claims.audience.empty(),
                                     !jwt.roles.empty()};
  if (std::all_of(given.begin(), given.end(), [&given](bool is_given) { return is_given == given.front(); })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "--jwt-keys, --jwt-issuer, --jwt-audience and --jwt-roles must be given together, none of them empty");
}

void AddFlags(CLI::App* app, Flags* flags) {
  app->set_version_flag("--version", std::string(REGROUP_VERSION));
  app->add_option("--listen", flags->options.listen, "host:port or unix:/path; port 0 picks a free one")
      ->capture_default_str();
  app->add_option("--metrics-listen", flags->options.metrics_listen,
                  "host:port of /metrics, plain HTTP; 0.0.0.0:9447 opens it to other machines; empty disables it")
      ->capture_default_str();
  app->add_option("--work-dir", flags->options.work_folder, "Folder shared with the workers");
  app->add_option("--state-dir", flags->options.state_folder, "Folder of the store; default: WORK_DIR/coordinator");
  app->add_option("--store-url-file", flags->options.store_url_file,
                  "File with the postgresql:// URL of a database for the store, which several coordinators may share; "
                  "default: a file in STATE_DIR");
  app->add_option(
      "--advertise", flags->options.advertised_address,
      "With --store-url-file: the host:port that callers are sent to while this one leads; default: --listen");
  app->add_option("--leader-lease-s", flags->leader_lease_s,
                  "With --store-url-file: silence in seconds after which another coordinator takes over")
      ->check(CLI::Range(2, 60))
      ->capture_default_str();
  app->add_option("--data-root", flags->options.allowed_paths.data_roots,
                  "Folder that jobs may read from; may be repeated; default: any");
  app->add_option("--output-root", flags->options.allowed_paths.output_roots,
                  "Folder that jobs may write results to; may be repeated; default: any");
  app->add_option("--allow-remote", flags->options.allowed_paths.address_prefixes,
                  "What the addresses of jobs may begin with: hf://, hf://org/, s3://bucket/, https://host/; may be "
                  "repeated; default: none")
      ->check(CLI::Validator(DoubtAboutPrefix, "PREFIX"));
  app->add_option("--backup-dir", flags->options.backup_folder, "Folder of backups; default: STATE_DIR/backups");
  app->add_option("--keep-finished-days", flags->keep_finished_days,
                  "Delete finished jobs, their logs and working files after this many days; 0 keeps them")
      ->check(CLI::Range(0, 36500))
      ->capture_default_str();
  app->add_option("--max-unfinished-jobs", flags->options.cluster.max_unfinished_jobs,
                  "Reject new jobs at this number of unfinished ones; each takes about 10 KB of memory")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app->add_option("--max-unfinished-jobs-per-caller", flags->options.cluster.max_unfinished_jobs_per_caller,
                  "Reject new jobs of a caller at this number of its unfinished ones; only with tokens")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app->add_option(
         "--max-streams-per-caller", flags->options.streams.per_caller,
         "Reject new streams (watch, logs, metrics) of a caller at this number of its open ones; only with tokens")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_option("--max-plans-per-caller", flags->options.plans.per_caller,
                  "Reject new plans of a caller at this number of its waiting ones; only with tokens")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  app->add_option("--plan-timeout-s", flags->plan_timeout_s, "Seconds after which a plan is given up")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app->add_option("--memory-mib", flags->memory_mib,
                  "Memory in MiB above which the connections that cost most are closed; default: 30 % of what the "
                  "machine or the control group has, at most 2048")
      ->check(CLI::Range(64, 1 << 20));
  app->add_option("--plan-memory-mib", flags->plan_memory_mib, "Memory in MiB that a plan may allocate")
      ->check(CLI::Range(256, 1 << 20))
      ->capture_default_str();
  app->add_option("--max-log-mib-per-job", flags->max_log_mib_per_job,
                  "MiB of log that are stored of one job; of what follows only errors are")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--max-points-per-job", flags->options.max_points_per_job, "Metric points that are stored of one job")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  app->add_option("--lease-s", flags->lease_s, "Seconds without a heartbeat after which a worker loses its tasks")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app->add_option("--heartbeat-s", flags->heartbeat_s, "Seconds between two heartbeats of a worker")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app->add_option("--watchdog-s", flags->watchdog_s, "Seconds without progress after which a task is restarted")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app->add_option(
         "--slow-task-s", flags->slow_task_s,
         "Seconds after which a layer whose alignment takes three times as long as the others is restarted on a "
         "free worker; 0 disables this")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  app->add_option(
         "--shrink-after-s", flags->shrink_after_s,
         "Seconds for which no workers could hold all ranks of training with finetune.min_ranks that has lost a "
         "machine, before it goes on with fewer")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  app->add_option("--pause-limit-s", flags->pause_limit_s,
                  "Seconds after a pause in which training may write a checkpoint; what still runs then is stopped and "
                  "later starts from its last checkpoint")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app->add_flag("--preempt", flags->preempts,
                "Pause training while a job of the same owner with a higher resources.priority needs its slots");
  app->add_option("--port-file", flags->port_file, "File to write the port to once it is open");
  app->add_option("--metrics-port-file", flags->metrics_port_file, "File to write the metrics port to once it is open");
  app->add_option("--log-format", flags->log_format, "json or text")
      ->check(CLI::IsMember({"json", "text"}))
      ->capture_default_str();
  app->add_flag("--die-with-parent", flags->die_with_parent, "Stop when the parent process ends");
  AddTlsFlags(app, &flags->options.tls);
  app->add_option("--webhooks", flags->options.webhook_file,
                  "YAML file with the URLs that are told when jobs end, signed with secrets of their own");
  app->add_option(
      "--quotas", flags->options.quota_file,
      "YAML file with the slots and unfinished jobs that each owner may have at once; read again when it changes");
  app->add_option("--tokens", flags->options.token_file,
                  "File with the callers' tokens, which must exist; default: STATE_DIR/tokens, if that exists");
  AddJwtFlags(app, flags);
}

absl::Status CompleteOptions(Flags* flags) {
  CoordinatorOptions& options = flags->options;
  if (options.state_folder.empty() && options.work_folder.empty()) {
    return absl::InvalidArgumentError("give --work-dir or --state-dir");
  }
  if (options.state_folder.empty()) options.state_folder = options.work_folder / "coordinator";
  REGROUP_RETURN_IF_ERROR(CheckJwtFlags(options.jwt));
  options.needs_tokens = !options.token_file.empty();
  if (!options.needs_tokens) options.token_file = options.state_folder / "tokens";
  if (flags->heartbeat_s >= flags->lease_s) {
    return absl::InvalidArgumentError("--heartbeat-s must be smaller than --lease-s");
  }
  if (!flags->options.store_url_file.empty()) {
    // Workers kill their attempts when they cannot reach a leader for the length of their lease.
    if (flags->leader_lease_s >= flags->lease_s) {
      return absl::InvalidArgumentError("--leader-lease-s must be smaller than --lease-s");
    }
  }
  options.jwt.refresh = std::chrono::seconds(flags->jwt_refresh_s);
  options.jwt.claims.leeway = std::chrono::seconds(flags->jwt_leeway_s);
  options.leader_lease = std::chrono::seconds(flags->leader_lease_s);
  options.keep_finished = std::chrono::hours(24) * flags->keep_finished_days;
  options.cluster.lease = std::chrono::seconds(flags->lease_s);
  options.cluster.heartbeat_interval = std::chrono::seconds(flags->heartbeat_s);
  options.cluster.watchdog = std::chrono::seconds(flags->watchdog_s);
  options.plans.time = std::chrono::seconds(flags->plan_timeout_s);
  options.max_process_bytes = static_cast<size_t>(flags->memory_mib) << 20;
  options.plans.memory = static_cast<size_t>(flags->plan_memory_mib) << 20;
  options.max_log_bytes_per_job = flags->max_log_mib_per_job << 20;
  options.cluster.straggler.floor = std::chrono::seconds(flags->slow_task_s);
  options.cluster.shrink_after = std::chrono::seconds(flags->shrink_after_s);
  options.cluster.pause_limit = std::chrono::seconds(flags->pause_limit_s);
  options.cluster.preempts = flags->preempts;
  return absl::OkStatus();
}

absl::Status WritePort(const std::string& file, int port) {
  return file.empty() ? absl::OkStatus() : WriteFileAtomically(file, std::to_string(port) + "\n");
}

/// Waits for a signal. All threads block the signals, so no handler interrupts them. Returns 0 when the coordinator
/// cannot go on.
int WaitForSignal(const sigset_t& signals, const Coordinator& coordinator) {
  const timespec pause = {.tv_sec = 0, .tv_nsec = 100'000'000};
  while (coordinator.health().ok()) {
    const int signal = sigtimedwait(&signals, nullptr, &pause);
    if (signal > 0) return signal;
  }
  return 0;
}

absl::Status RunCoordinator(Flags flags, const sigset_t& signals) {
  REGROUP_RETURN_IF_ERROR(CompleteOptions(&flags));
  for (const std::string& doubt : DoubtsAbout(flags.options.allowed_paths, flags.options.work_folder))
    LogWarning(doubt);
  REGROUP_ASSIGN_OR_RETURN(const auto coordinator, Coordinator::Start(flags.options));
  REGROUP_RETURN_IF_ERROR(WritePort(flags.metrics_port_file, coordinator->metrics_port()));
  REGROUP_RETURN_IF_ERROR(WritePort(flags.port_file, coordinator->port()));
  LogInfo("serving", {{"address", coordinator->address()}, {"metrics_port", coordinator->metrics_port()}});
  const int signal = WaitForSignal(signals, *coordinator);
  // Leadership is lost: skip the graceful stop, the state in memory may be stale.
  if (signal == 0) return coordinator->health();
  LogInfo("stopping", {{"signal", strsignal(signal)}});
  coordinator->Stop(kStopGrace);
  return absl::OkStatus();
}

int ExitStatusOf(const absl::Status& status) {
  if (status.ok()) return 0;
  return absl::IsInvalidArgument(status) ? kUsageError : 1;
}

int FinishCommand(const absl::Status& status) {
  if (!status.ok())
    fmt::print(stderr, "regroup-coordinator: {}\n", PrintableText(std::string(status.message()), "\n    "));
  return ExitStatusOf(status);
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  CLI::App app(
      "Coordinates the conversion of MHA models to GQA: accepts and stores jobs, and assigns their tasks to workers.",
      "regroup-coordinator");
  regroup::Flags flags;
  regroup::AddFlags(&app, &flags);
  std::function<absl::Status()> command;
  app.require_subcommand(0, 1);
  regroup::AddAccessCommands(&app, &command);
  regroup::AddBackupCommand(&app, &command);
  regroup::AddManPageFlag(&app,
                          {.section = 8, .version = REGROUP_VERSION, .see_also = {"regroup(1)", "regroup-worker(8)"}});
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = regroup::CheckCurrentFolder(); !status.ok()) return regroup::FinishCommand(status);
  if (command) return regroup::FinishCommand(command());
  regroup::KeepOthersFromWriting();
  if (flags.die_with_parent && !regroup::DieWithParent(SIGTERM)) return 0;
  regroup::InitLogging("coordinator",
                       flags.log_format == "json" ? regroup::LogFormat::kJson : regroup::LogFormat::kText);
  regroup::RaiseOpenFileLimit();
  regroup::WarnOfFewOpenFiles();
  const absl::Status status = regroup::RunCoordinator(std::move(flags), signals);
  if (!status.ok()) regroup::LogError(std::string(status.message()));
  return regroup::ExitStatusOf(status);
}
