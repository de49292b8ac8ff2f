// regroup: the command line.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/cli/commands.h"
#include "services/common/base/paths.h"
#include "services/common/base/printable_text.h"
#include "services/common/job_file/nearest_word.h"
#include "services/common/programs/man_page.h"
#include "services/common/rpc/security_flags.h"

namespace regroup {
namespace {

void AddEverything(CLI::App& app, CommandLine& line) {
  app.require_subcommand(1);
  // Common options are allowed before and after the command.
  app.fallthrough();
  app.add_flag("--json", line.json, "Print JSON");
  app.add_option("--coordinator", line.coordinator, "The coordinator's host:port, or of several, separated by commas")
      ->envname("REGROUP_COORDINATOR")
      ->default_val("127.0.0.1:7447");
  AddIdentityFlags(&app, &line.identity);
  AddInitCommand(app, line);
  AddRunCommand(app, line);
  AddJobCommands(app, line);
  AddStreamCommands(app, line);
  AddTopCommand(app, line);
  AddReportCommand(app, line);
  AddClusterCommands(app, line);
  AddModelCommands(app, line);
  AddPlanCommand(app, line);
  AddCompletionCommand(app, line);
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  return names;
}

/// Returns the first word if it is neither an option nor a command.
std::optional<std::string> UnknownCommand(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return std::nullopt;
  const std::string word = argv[1];
  const std::vector<std::string> names = CommandNames(app);
  return std::find(names.begin(), names.end(), word) == names.end() ? std::make_optional(word) : std::nullopt;
}

ExitCode RefuseCommand(const CLI::App& app, const std::string& word) {
  const std::vector<std::string> names = CommandNames(app);
  const std::vector<std::string_view> known(names.begin(), names.end());
  const auto nearest = NearestWord(word, known);
  const std::string hint = nearest ? fmt::format("did you mean '{}'?", *nearest) : "see regroup --help";
  fmt::print(stderr, "regroup: '{}' is not a command; {}\n", PrintableText(word), hint);
  return kExitUsage;
}

int Main(int argc, char** argv) {
  CLI::App app("Converts multi-head-attention language models into grouped-query attention.", "regroup");
  app.set_version_flag("--version", REGROUP_VERSION);
  app.footer(
      "A first conversion:\n"
      "  regroup inspect /models/llama     shows if it can be converted, and to how many KV heads\n"
      "  regroup plan job.yaml             estimates memory, time and storage without running it\n"
      "  regroup run job.yaml              converts on this machine; run it again to resume\n"
      "  regroup report OUTPUT --open      shows the figures and opens the report\n"
      "Example job files are in deploy/examples. Help for a command: regroup run --help\n\n"
      "Exit status: 0 done, 1 the job failed, 2 usage error or invalid job file, 3 a service is unavailable.");
  CommandLine line;
  AddEverything(app, line);
  AddManPageFlag(&app, {.version = REGROUP_VERSION, .see_also = {"regroup-coordinator(8)", "regroup-worker(8)"}});
  if (argc < 2) {
    Print(app.help());
    return kExitUsage;
  }
  if (const auto word = UnknownCommand(app, argc, argv)) return RefuseCommand(app, *word);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (const absl::Status status = CheckCurrentFolder(); !status.ok()) return PrintError(status, line.json);
  return line.selected(line);
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
