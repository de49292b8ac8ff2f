#include "services/cli/overview_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/cli/quantity_text.h"
#include "services/cli/sparkline.h"
#include "services/cli/state_colours.h"
#include "services/cli/text_table.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

constexpr size_t kStateWidth = 10;
constexpr size_t kDoneWidth = 5;
constexpr size_t kEtaWidth = 7;
constexpr size_t kFigureWidth = 6;
constexpr size_t kSlotsWidth = 7;
constexpr int kWideColumns = 100;
/// Lines beside the rows of jobs and workers: the title, two headers and two empty lines.
constexpr size_t kFixedLines = 5;

struct Cell {
  std::string text;
  size_t width = 0;
  bool right = false;
  Colour colour = Colour::kNone;
};

/// Widths that depend on the terminal's.
struct Layout {
  size_t columns = 80;
  size_t gap = 1;
  size_t job = 12;
  size_t stage = 9;
  size_t spark = 6;
};

/// Gives the names as many columns as the longest needs, or what the figures leave.
Layout LayoutFor(const Terminal& terminal, size_t longest_name) {
  Layout layout;
  layout.columns = static_cast<size_t>(std::max(terminal.columns, 20));
  if (terminal.columns >= kWideColumns) {
    layout.gap = 2;
    layout.stage = 18;
    layout.spark = std::min<size_t>(24, 6 + static_cast<size_t>(terminal.columns - kWideColumns) / 5);
  }
  const size_t others =
      kStateWidth + layout.stage + kDoneWidth + kEtaWidth + 2 * (kFigureWidth + layout.spark) + 8 * layout.gap;
  const size_t left = layout.columns > others ? layout.columns - others : 0;
  layout.job = std::max<size_t>(12, std::min(left, longest_name));
  return layout;
}

size_t LongestName(const ClusterOverview& overview) {
  size_t longest = 0;
  for (const OverviewJob& job : overview.jobs) longest = std::max(longest, DisplayWidth(LastSegment(job.job.name())));
  for (const v1::Worker& worker : overview.workers)
    longest = std::max(longest, DisplayWidth(LastSegment(worker.name())));
  return longest;
}

/// Returns the first `width` characters.
std::string Cut(const std::string& text, size_t width) {
  size_t characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts_character = (static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U;
    if (starts_character && characters++ == width) return text.substr(0, i);
  }
  return text;
}

/// Returns the last `width` characters.
std::string CutFront(const std::string& text, size_t width) {
  const size_t characters = DisplayWidth(text);
  if (characters <= width) return text;
  return text.substr(Cut(text, characters - width).size());
}

/// Joins cells with gaps, and cuts what does not fit into the columns.
std::string Line(const std::vector<Cell>& cells, const Layout& layout, const Terminal& terminal) {
  std::string line;
  size_t used = 0;
  for (const Cell& cell : cells) {
    const size_t gap = used == 0 ? 0 : layout.gap;
    if (used + gap >= layout.columns) break;
    const size_t width = std::min(cell.width, layout.columns - used - gap);
    const std::string text = Cut(cell.text, width);
    line +=
        std::string(gap, ' ') + terminal.Paint(cell.colour, cell.right ? PadLeft(text, width) : PadRight(text, width));
    used += gap + width;
  }
  if (!terminal.colours) line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

/// Figures of a loss fit six characters: "2.310", "12,345" and "1.2e-6" do, "1.23e-06" does not.
std::string LossText(double loss) {
  const std::string text = FigureText(loss);
  return text.size() <= kFigureWidth ? text : fmt::format("{:.0e}", loss);
}

/// "3:05", "1:02:03", "44 h", "12 d".
std::string EtaText(const StageSummary& stage) {
  if (!stage.remaining_s) return "";
  const double hours = *stage.remaining_s / 3600;
  if (hours < 10) return DurationText(*stage.remaining_s);
  return hours < 100 ? fmt::format("{:.0f} h", hours) : fmt::format("{:.0f} d", hours / 24);
}

std::string DoneText(const StageSummary& stage) {
  return stage.total > 0 ? fmt::format("{:.0f} %", std::floor(100 * stage.Fraction())) : "";
}

std::string JobsHeader(const Layout& layout, const Terminal& terminal) {
  return Line({{"JOB", layout.job, false, Colour::kBold},
               {"STATE", kStateWidth, false, Colour::kBold},
               {"STAGE", layout.stage, false, Colour::kBold},
               {"DONE", kDoneWidth, true, Colour::kBold},
               {"ETA", kEtaWidth, true, Colour::kBold},
               {"LOSS", kFigureWidth, true, Colour::kBold},
               {"", layout.spark},
               {"TOK/S", kFigureWidth, true, Colour::kBold},
               {"", layout.spark}},
              layout, terminal);
}

std::string JobLine(const OverviewRow& row, const Layout& layout, const Terminal& terminal) {
  std::vector<Cell> cells = {
      {WithoutMiddle(row.job, layout.job, terminal.unicode), layout.job},
      {EnumWord(row.state), kStateWidth, false, ColourOf(row.state)},
  };
  if (!row.stage) {
    const std::string note =
        row.note.empty() && IsFinalState(row.state) ? "took " + DurationText(row.elapsed_s) : row.note;
    const size_t used = layout.job + kStateWidth + 2 * layout.gap;
    const size_t width = layout.columns > used ? layout.columns - used : 0;
    cells.push_back({WithoutMiddle(note, width, terminal.unicode), width, false, Colour::kDim});
    return Line(cells, layout, terminal);
  }
  const StageSummary& stage = *row.stage;
  const bool unicode = terminal.unicode;
  cells.push_back({WithoutMiddle(stage.name, layout.stage, unicode), layout.stage});
  cells.push_back({DoneText(stage), kDoneWidth, true});
  cells.push_back({EtaText(stage), kEtaWidth, true});
  cells.push_back({stage.loss ? LossText(*stage.loss) : "", kFigureWidth, true});
  cells.push_back({Sparkline(row.losses, layout.spark, unicode), layout.spark, false, Colour::kCyan});
  cells.push_back({stage.tokens_per_second ? ShortCountText(*stage.tokens_per_second) : "", kFigureWidth, true});
  cells.push_back({Sparkline(row.speeds, layout.spark, unicode), layout.spark, false, Colour::kGreen});
  return Line(cells, layout, terminal);
}

std::vector<Cell> WorkerCells(const Layout& layout, Cell worker, Cell state, Cell slots, Cell device, Cell runs) {
  worker.width = layout.job;
  state.width = kStateWidth;
  slots.width = kSlotsWidth;
  device.width = 6;
  runs.width = layout.columns;
  return {std::move(worker), std::move(state), std::move(slots), std::move(device), std::move(runs)};
}

std::string WorkersHeader(const Layout& layout, const Terminal& terminal) {
  const auto title = [](const char* text) { return Cell{text, 0, false, Colour::kBold}; };
  return Line(WorkerCells(layout, title("WORKER"), title("STATE"), title("SLOTS"), title("DEVICE"), title("RUNS")),
              layout, terminal);
}

/// Returns "JOB:TASK, JOB:TASK" for the tasks of a worker.
std::string TasksText(const v1::Worker& worker) {
  std::string text;
  for (const std::string& name : worker.running_tasks()) {
    const std::optional<TaskNameParts> parts = ParseTaskName(name);
    text += (text.empty() ? "" : ", ") + (parts ? fmt::format("{}:{}", parts->job, parts->task) : name);
  }
  return text;
}

std::string WorkerLine(const v1::Worker& worker, const Layout& layout, const Terminal& terminal) {
  return Line(WorkerCells(layout, {WithoutMiddle(LastSegment(worker.name()), layout.job, terminal.unicode)},
                          {EnumWord(worker.state()), 0, false, ColourOf(worker.state())},
                          {fmt::format("{}/{}", worker.busy_slots(), worker.slots())}, {worker.device()},
                          {TasksText(worker), 0, false, Colour::kDim}),
              layout, terminal);
}

std::string TitleLine(const ClusterOverview& overview, const Layout& layout, const Terminal& terminal) {
  const auto active = std::count_if(overview.jobs.begin(), overview.jobs.end(),
                                    [](const OverviewJob& job) { return IsActive(job.job); });
  const auto ended = std::count_if(overview.jobs.begin(), overview.jobs.end(),
                                   [](const OverviewJob& job) { return IsFinalState(job.job.state()); });
  const auto waiting = static_cast<std::ptrdiff_t>(overview.jobs.size()) - active - ended;
  int busy = 0, slots = 0;
  for (const v1::Worker& worker : overview.workers) {
    if (worker.state() == v1::WORKER_STATE_LOST) continue;
    busy += worker.busy_slots();
    slots += worker.slots();
  }
  const std::string text = overview.problem.empty() ? fmt::format("{}: {} running, {} waiting; {} of {} slots in use",
                                                                  overview.address, active, waiting, busy, slots)
                                                    : overview.problem;
  return Line({{text, layout.columns, false, overview.problem.empty() ? Colour::kBold : Colour::kRed}}, layout,
              terminal);
}

/// How many rows each table gets.
struct Room {
  size_t jobs = 0;
  size_t workers = 0;
};

/// Gives the workers up to a third, and each table what the other does not need.
Room RoomFor(size_t jobs, size_t workers, size_t rows) {
  const size_t lines = rows > kFixedLines ? rows - kFixedLines : 0;
  Room room;
  room.workers = std::min(workers, std::max(lines / 3, lines > jobs ? lines - jobs : 0));
  room.jobs = std::min(jobs, lines - room.workers);
  return room;
}

std::string MoreText(size_t count, bool even_more, const char* what) {
  return fmt::format("  and {}{} more {}", even_more ? "at least " : "", count, what);
}

/// Appends the lines that have room; the last place says how many have not.
void AddLines(std::vector<std::string> lines, size_t room, bool even_more, const char* what,
              std::vector<std::string>& to) {
  const size_t shown = lines.size() <= room ? lines.size() : std::max<size_t>(room, 1) - 1;
  to.insert(to.end(), lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(shown));
  if (shown < lines.size() && room > 0) to.push_back(MoreText(lines.size() - shown, even_more, what));
}

}  // namespace

std::string WithoutMiddle(const std::string& text, size_t width, bool unicode) {
  if (DisplayWidth(text) <= width) return text;
  if (width < 3) return Cut(text, width);
  const size_t end = (width - 1) / 2;
  return Cut(text, width - 1 - end) + (unicode ? "…" : "~") + CutFront(text, end);
}

std::vector<std::string> OverviewLines(const ClusterOverview& overview, double now_s, const Terminal& terminal) {
  const Layout layout = LayoutFor(terminal, LongestName(overview));
  const auto rows = static_cast<size_t>(std::max(terminal.rows, 1));
  const Room room =
      RoomFor(std::max<size_t>(overview.jobs.size(), 1), std::max<size_t>(overview.workers.size(), 1), rows);
  std::vector<std::string> jobs, workers;
  for (const OverviewJob& job : overview.jobs) jobs.push_back(JobLine(RowOf(job, now_s), layout, terminal));
  for (const v1::Worker& worker : overview.workers) workers.push_back(WorkerLine(worker, layout, terminal));
  if (jobs.empty()) jobs.emplace_back("no jobs");
  if (workers.empty()) workers.emplace_back("no workers");
  std::vector<std::string> lines = {TitleLine(overview, layout, terminal), ""};
  lines.push_back(JobsHeader(layout, terminal));
  AddLines(std::move(jobs), room.jobs, overview.has_more_jobs, "jobs", lines);
  lines.emplace_back();
  lines.push_back(WorkersHeader(layout, terminal));
  AddLines(std::move(workers), room.workers, overview.has_more_workers, "workers", lines);
  lines.resize(std::min(lines.size(), rows));
  return lines;
}

}  // namespace regroup
