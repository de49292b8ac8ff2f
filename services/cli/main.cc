// regroup: the command line.

#include "services/cli/cluster_commands.h"
#include "services/cli/command.h"
#include "services/cli/job_commands.h"
#include "services/cli/model_commands.h"
#include "services/cli/report_command.h"
#include "services/cli/run_command.h"
#include "services/cli/stream_commands.h"

namespace regroup {
namespace {

void AddEverything(CLI::App& app, CommandLine& line) {
  app.require_subcommand(1);
  // Common options may stand before and after the command.
  app.fallthrough();
  app.add_flag("--json", line.json, "Write JSON for programs");
  app.add_option("--coordinator", line.coordinator, "The coordinator's host:port")
      ->envname("REGROUP_COORDINATOR")
      ->default_val("127.0.0.1:7447");
  AddRunCommand(app, line);
  AddJobCommands(app, line);
  AddStreamCommands(app, line);
  AddReportCommand(app, line);
  AddClusterCommands(app, line);
  AddModelCommands(app, line);
}

int Main(int argc, char** argv) {
  CLI::App app("Converts multi-head-attention language models into grouped-query attention.", "regroup");
  app.set_version_flag("--version", REGROUP_VERSION);
  app.footer("Exit status: 0 done, 1 the job failed, 2 usage or a refused job file, 3 a service is unavailable.");
  CommandLine line;
  AddEverything(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return line.selected(line);
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
