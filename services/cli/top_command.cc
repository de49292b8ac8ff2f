#include <algorithm>
#include <chrono>
#include <memory>

#include "services/cli/cluster_overview.h"
#include "services/cli/commands.h"
#include "services/cli/full_screen.h"
#include "services/cli/interrupt.h"
#include "services/cli/json_text.h"
#include "services/cli/overview_feed.h"
#include "services/cli/overview_lines.h"
#include "services/cli/overview_reader.h"
#include "services/cli/printable.h"
#include "services/cli/terminal.h"
#include "services/common/base/printable_text.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kTurn{250};
/// Columns of a table in a pipe or a file, where nothing has to be cut for want of room.
constexpr int kColumnsOfAFile = 160;
constexpr int kUnlimitedRows = 1 << 16;

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

ClusterOverview PrintableOverview(ClusterOverview overview) {
  for (OverviewJob& shown : overview.jobs) {
    MakePrintable(&shown.job);
    // A table has one line for each job.
    shown.job.mutable_failure()->set_message(PrintableText(shown.job.failure().message()));
  }
  for (v1::Worker& worker : overview.workers) MakePrintable(&worker);
  overview.problem = PrintableText(overview.problem);
  return overview;
}

ExitCode PrintOnce(const Client& client, bool json) {
  OpenCalls calls;
  const absl::StatusOr<ClusterOverview> overview = OverviewReader(client, calls).ReadAll();
  if (!overview.ok()) return PrintError(overview.status(), json);
  if (json) {
    Print(JsonText(OverviewJson(*overview, Now())));
    return kExitDone;
  }
  Terminal terminal = StandardOutput();
  if (!terminal.live) terminal.columns = kColumnsOfAFile;
  terminal.rows = kUnlimitedRows;
  for (const std::string& line : OverviewLines(PrintableOverview(*overview), Now(), terminal)) Print(line + "\n");
  return kExitDone;
}

ExitCode ShowLive(const Client& client, bool json) {
  OpenCalls calls;
  absl::StatusOr<ClusterOverview> lists = OverviewReader(client, calls).ReadLists();
  if (!lists.ok()) return PrintError(lists.status(), json);
  CountInterrupts();
  OverviewFeed feed(client, *std::move(lists));
  FullScreen screen;
  while (Interrupts() == 0) {
    Terminal terminal = StandardOutput();
    // The last row is for the key that ends it.
    --terminal.rows;
    std::vector<std::string> lines = OverviewLines(PrintableOverview(feed.Latest()), Now(), terminal);
    lines.resize(static_cast<size_t>(std::max(terminal.rows, 0)));
    lines.push_back(terminal.Paint(Colour::kDim, "q ends"));
    screen.Draw(lines, terminal.columns, terminal.rows);
    const char key = screen.ReadKey(kTurn);
    if (key == 'q' || key == 'Q') break;
  }
  return kExitDone;
}

ExitCode Top(bool once, const CommandLine& line) {
  const absl::StatusOr<Client> client = line.Connect();
  if (!client.ok()) return PrintError(client.status(), line.json);
  if (once || line.json || !StandardOutput().live) return PrintOnce(*client, line.json);
  return ShowLive(*client, line.json);
}

}  // namespace

void AddTopCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("top", "Show jobs and workers in a live table; q ends it");
  const auto once = std::make_shared<bool>(false);
  command->add_flag("--once", *once, "Print the table once, as with --json or without a terminal");
  command->callback(
      [&line, once] { line.selected = [once](const CommandLine& chosen) { return Top(*once, chosen); }; });
}

}  // namespace regroup
