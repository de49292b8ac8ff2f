#include "services/cli/progress_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/cli/quantity_text.h"
#include "services/cli/state_colours.h"
#include "services/cli/text_table.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

constexpr size_t kNameWidth = 18;
constexpr int kWidestLine = 100;

/// A part of a line; parts of lower weight are dropped first if the line is too long.
struct Part {
  std::string text;
  int weight = 0;
  Colour colour = Colour::kNone;
};

/// Short enough at 80 columns to leave room for all figures of a training step.
int BarWidth(const Terminal& terminal) { return terminal.columns < 90 ? 6 : 12; }

std::string Bar(double fraction, const Terminal& terminal) {
  const bool unicode = terminal.unicode;
  const int width = BarWidth(terminal);
  const int full = static_cast<int>(std::floor(fraction * width));
  std::string bar;
  for (int i = 0; i < width; ++i) bar += unicode ? (i < full ? "█" : "░") : (i < full ? "#" : ".");
  return bar;
}

std::string Mark(v1::TaskState state, bool unicode) {
  switch (state) {
    case v1::TASK_STATE_SUCCEEDED:
      return unicode ? "✓" : "+";
    case v1::TASK_STATE_FAILED:
      return unicode ? "✗" : "x";
    case v1::TASK_STATE_RUNNING:
      return unicode ? "●" : "*";
    case v1::TASK_STATE_CANCELLED:
      return unicode ? "–" : "-";
    default:
      return unicode ? "○" : ".";
  }
}

std::string CountText(const StageSummary& stage) {
  return stage.total > 0 ? fmt::format("{}/{}", stage.done, stage.total) : "";
}

std::vector<Part> RunningParts(const StageSummary& stage, const Terminal& terminal) {
  std::vector<Part> parts;
  if (stage.total > 0) {
    parts.push_back({Bar(stage.Fraction(), terminal), 9, Colour::kCyan});
    parts.push_back({CountText(stage), 8});
  } else if (!stage.unit.empty()) {
    parts.push_back({stage.unit, 3, Colour::kDim});
  }
  parts.push_back({DurationText(stage.elapsed_s), 4});
  if (stage.remaining_s) parts.push_back({"eta " + DurationText(*stage.remaining_s), 7});
  if (stage.tokens_per_second) parts.push_back({ShortCountText(*stage.tokens_per_second) + " tok/s", 5});
  if (stage.loss) parts.push_back({"loss " + FigureText(*stage.loss), 6});
  if (stage.epoch > 1 && stage.tasks == 1) {
    parts.push_back({fmt::format("attempt {}", stage.epoch), 2, Colour::kYellow});
  }
  return parts;
}

std::vector<Part> FinishedParts(const StageSummary& stage) {
  std::vector<Part> parts = {{DurationText(stage.elapsed_s), 9}};
  if (stage.tasks > 1) parts.push_back({fmt::format("{} {}", stage.done, stage.unit), 8, Colour::kDim});
  if (stage.loss) parts.push_back({"loss " + FigureText(*stage.loss), 6, Colour::kDim});
  if (stage.state != v1::TASK_STATE_SUCCEEDED) parts.push_back({EnumWord(stage.state), 9, ColourOf(stage.state)});
  return parts;
}

std::vector<Part> PartsOf(const StageSummary& stage, const Terminal& terminal) {
  if (stage.IsFinal()) return FinishedParts(stage);
  if (stage.state == v1::TASK_STATE_RUNNING) return RunningParts(stage, terminal);
  const bool waits = stage.state == v1::TASK_STATE_READY && !stage.is_paused;
  return {{waits ? "waits for a worker" : "", 9, Colour::kDim}};
}

size_t WidthOf(const std::vector<Part>& parts) {
  size_t width = 0;
  for (const Part& part : parts) width += DisplayWidth(part.text) + 2;
  return width;
}

/// Drops the parts of lowest weight until the rest fits, then joins them.
std::string Fit(std::vector<Part> parts, size_t columns, const Terminal& terminal) {
  while (parts.size() > 1 && WidthOf(parts) > columns + 2) {
    parts.erase(
        std::min_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.weight < b.weight; }));
  }
  std::string line;
  for (const Part& part : parts) line += (line.empty() ? "" : "  ") + terminal.Paint(part.colour, part.text);
  return line;
}

size_t ColumnsOf(const Terminal& terminal) {
  return static_cast<size_t>(std::clamp(terminal.columns - 1, 40, kWidestLine));
}

std::string StageLine(const StageSummary& stage, const Terminal& terminal) {
  const std::string mark = terminal.Paint(ColourOf(stage.state), Mark(stage.state, terminal.unicode));
  const bool pending = !stage.IsFinal() && stage.state != v1::TASK_STATE_RUNNING;
  const std::string name = terminal.Paint(pending ? Colour::kDim : Colour::kNone, PadRight(stage.name, kNameWidth));
  const size_t used = 2 + 2 + kNameWidth + 2;
  return fmt::format("  {} {}  {}", mark, name, Fit(PartsOf(stage, terminal), ColumnsOf(terminal) - used, terminal));
}

std::string JobLine(const v1::Job& job, double now_s, const Terminal& terminal) {
  std::vector<Part> parts = {{LastSegment(job.name()), 9, Colour::kBold},
                             {EnumWord(job.state()), 8, ColourOf(job.state())},
                             {DurationText(JobSeconds(job, now_s)), 7}};
  if (!job.waiting_reason().empty()) parts.push_back({job.waiting_reason(), 5, Colour::kYellow});
  return Fit(std::move(parts), ColumnsOf(terminal), terminal);
}

/// Returns the stages to show in at most `lines` lines: drops finished stages first, then those that have not begun.
std::vector<StageSummary> Shorten(std::vector<StageSummary> stages, size_t lines) {
  const auto drop_first = [&](auto matches) {
    const auto found = std::find_if(stages.begin(), stages.end(), matches);
    if (found == stages.end()) return false;
    stages.erase(found);
    return true;
  };
  while (stages.size() > lines) {
    if (drop_first([](const StageSummary& stage) { return stage.state == v1::TASK_STATE_SUCCEEDED; })) continue;
    stages.pop_back();
  }
  return stages;
}

}  // namespace

std::vector<std::string> ProgressLines(const v1::Job& job, double now_s, const Terminal& terminal) {
  std::vector<std::string> lines = {JobLine(job, now_s, terminal)};
  const auto room = static_cast<size_t>(std::max(terminal.rows - 2, 1));
  for (const StageSummary& stage : Shorten(SummariseStages(job, now_s), room)) {
    std::string line = StageLine(stage, terminal);
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string PlainStageLine(const StageSummary& stage) {
  std::string line = fmt::format("{} {:.0f} %", stage.name, std::floor(100 * stage.Fraction()));
  std::vector<std::string> details;
  if (stage.total > 0) details.push_back(stage.unit + (stage.unit.empty() ? "" : " ") + CountText(stage));
  details.push_back(DurationText(stage.elapsed_s));
  if (stage.remaining_s) details.push_back("eta " + DurationText(*stage.remaining_s));
  if (stage.tokens_per_second) details.push_back(ShortCountText(*stage.tokens_per_second) + " tokens/s");
  if (stage.loss) details.push_back("loss " + FigureText(*stage.loss));
  for (size_t i = 0; i < details.size(); ++i) line += (i == 0 ? ": " : ", ") + details[i];
  return line;
}

}  // namespace regroup
