#include "services/cli/job_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "services/cli/quantity_text.h"
#include "services/cli/text_table.h"
#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

/// Figures named "<metric>/<model>" as a grid.
struct FigureGrid {
  std::set<std::string> columns;
  std::map<std::string, std::map<std::string, double>> rows;
};

FigureGrid GridOf(const v1::Job& job) {
  FigureGrid grid;
  for (const auto& [key, value] : job.figures()) {
    const size_t slash = key.rfind('/');
    const std::string column = slash == std::string::npos ? key : key.substr(0, slash);
    const std::string row = slash == std::string::npos ? "result" : key.substr(slash + 1);
    grid.columns.insert(column);
    grid.rows[row][column] = value;
  }
  return grid;
}

/// Returns the title of a row: the steps that produced its model.
std::string RowTitle(const std::string& row, const v1::JobSpec& spec) {
  if (row == "source") return "source";
  if (row == "averaged") return "plain averaging";
  const std::string aligned = spec.alignment().method() == "none" ? "averaged" : "aligned";
  const std::string refined = spec.refine().outputs() ? " + refined" : "";
  const bool distills = spec.layerwise().method() == "distill";
  // Refining comes after layerwise distillation, which starts from the aligned model.
  if (row == "aligned") return fmt::format("{}{}", aligned, distills ? "" : refined);
  const std::string merged = fmt::format("{}{}{}", aligned, distills ? " + layerwise" : "", refined);
  if (row == "layerwise") return merged;
  if (row != "result") return row;
  const std::string& method = spec.finetune().method();
  const bool trained = !method.empty() && method != "none";
  return fmt::format("{}{}{} (result)", merged, trained ? " + " : "", trained ? method : "");
}

std::string ColumnTitle(const std::string& column) {
  static const std::map<std::string, std::string> titles = {
      {"perplexity", "perplexity"}, {"kv_bytes_per_token", "KV cache per token"}, {"kv_heads", "KV heads"}};
  const auto found = titles.find(column);
  return found == titles.end() ? column : found->second;
}

std::string CellText(const std::string& column, double value) {
  if (column == "kv_bytes_per_token") return GroupedText(static_cast<int64_t>(value)) + " B";
  return FigureText(value);
}

std::vector<std::string> RowOrder(const FigureGrid& grid) {
  std::vector<std::string> order;
  for (const char* known : {"source", "averaged", "aligned", "layerwise", "result"}) {
    if (grid.rows.count(known) > 0) order.emplace_back(known);
  }
  for (const auto& [row, cells] : grid.rows) {
    if (std::find(order.begin(), order.end(), row) == order.end()) order.push_back(row);
  }
  return order;
}

std::vector<std::string> ColumnOrder(const FigureGrid& grid) {
  std::vector<std::string> order;
  for (const char* known : {"perplexity", "kv_bytes_per_token"}) {
    if (grid.columns.count(known) > 0) order.emplace_back(known);
  }
  for (const std::string& column : grid.columns) {
    if (std::find(order.begin(), order.end(), column) == order.end()) order.push_back(column);
  }
  return order;
}

std::string GridText(const v1::Job& job) {
  const FigureGrid grid = GridOf(job);
  if (grid.rows.empty()) return "";
  const std::vector<std::string> columns = ColumnOrder(grid);
  std::vector<std::string> header = {""};
  for (const std::string& column : columns) header.push_back(ColumnTitle(column));
  TextTable table(header);
  for (size_t i = 1; i <= columns.size(); ++i) table.AlignRight(i);
  for (const std::string& row : RowOrder(grid)) {
    std::vector<std::string> cells = {RowTitle(row, job.resolved_spec())};
    for (const std::string& column : columns) {
      const auto found = grid.rows.at(row).find(column);
      cells.push_back(found == grid.rows.at(row).end() ? "" : CellText(column, found->second));
    }
    table.Add(std::move(cells));
  }
  return table.Render("  ");
}

std::optional<double> FigureOf(const v1::Job& job, const std::string& key) {
  const auto found = job.figures().find(key);
  if (found == job.figures().end()) return std::nullopt;
  return found->second;
}

std::string SavingText(const v1::Job& job) {
  const auto before = FigureOf(job, "kv_bytes_per_token/source");
  const auto after = FigureOf(job, "kv_bytes_per_token/result");
  if (!before || !after || *after <= 0 || *after >= *before) return "";
  return fmt::format("  The KV cache is {:.1f} times smaller.\n", *before / *after);
}

/// Returns the task that made the job fail, if any.
const v1::Task* FailedTask(const v1::Job& job) {
  for (const v1::Task& task : job.tasks()) {
    if (task.state() == v1::TASK_STATE_FAILED) return &task;
  }
  return nullptr;
}

/// Returns true if the message contains the kernel's text for a full disk or an exceeded quota.
bool IsForWantOfSpace(const std::string& message) {
  return message.find("No space left on device") != std::string::npos ||
         message.find("Disk quota exceeded") != std::string::npos;
}

std::string NextStep(const v1::Failure& failure, const Continuation& continuation) {
  const std::string& again = continuation.command;
  if (IsForWantOfSpace(failure.message())) return "free space on that disk, then resume with: " + again;
  switch (failure.failure_class()) {
    case v1::FAILURE_CLASS_USER:
      return continuation.reads_job_file
                 ? "correct the job file, then run: " + again
                 : "correct the job file and submit it again; or, if the file is right, change what the message names, "
                   "then run: " +
                       again;
    case v1::FAILURE_CLASS_DATA:
      return "supply, repair or replace the file, then run: " + again;
    case v1::FAILURE_CLASS_QUALITY_GATE:
      return "keep more KV heads, train for more steps, or raise gates.max_perplexity_ratio; nothing was published";
    case v1::FAILURE_CLASS_INFRA:
    case v1::FAILURE_CLASS_HANG:
      return "check the worker machines, then resume with: " + again;
    default:
      return "this is a bug in Regroup; please report it with the lines above. To retry: " + again;
  }
}

/// Returns the failure's message without the task's name, which the line already shows.
std::string ReasonOf(const v1::Failure& failure, const std::string& task) {
  const std::string prefix = fmt::format("task {} failed: ", task);
  return failure.message().starts_with(prefix) ? failure.message().substr(prefix.size()) : failure.message();
}

/// Returns the last lines of the log, unless they only repeat the reason.
std::string LogText(const v1::Failure& failure, const std::string& reason) {
  if (failure.log_tail().empty()) return "";
  if (failure.log_tail_size() == 1 && failure.log_tail(0).ends_with(reason)) return "";
  std::string text = "\n  The last lines of its log:\n";
  for (const std::string& line : failure.log_tail()) text += fmt::format("    {}\n", line);
  return text;
}

std::string WarningsText(const v1::Job& job, const Terminal& terminal) {
  std::string text;
  for (const std::string& warning : job.warnings()) {
    text += fmt::format("  {} {}\n", terminal.Paint(Colour::kYellow, "warning:"), warning);
  }
  return text;
}

}  // namespace

std::string ClassWord(v1::FailureClass failure_class) {
  switch (failure_class) {
    case v1::FAILURE_CLASS_USER:
      return "invalid request";
    case v1::FAILURE_CLASS_DATA:
      return "data";
    case v1::FAILURE_CLASS_QUALITY_GATE:
      return "quality gate";
    case v1::FAILURE_CLASS_INFRA:
      return "infrastructure";
    case v1::FAILURE_CLASS_HANG:
      return "no progress";
    default:
      return "internal";
  }
}

std::string ResultText(const v1::Job& job, const Terminal& terminal) {
  std::string text = GridText(job) + SavingText(job);
  if (!text.empty()) text += "\n";
  text += WarningsText(job, terminal);
  const bool sweep = job.resolved_spec().has_sweep();
  if (job.state() == v1::JOB_STATE_SUCCEEDED && !sweep) {
    text += fmt::format("  result  {}\n", terminal.Paint(Colour::kBold, job.resolved_spec().output().checkpoint()));
  }
  if (!job.report_folder().empty()) text += fmt::format("  report  {}/report.html\n", job.report_folder());
  return text;
}

Continuation RetryOf(const v1::Job& job) { return {.command = "regroup retry " + LastSegment(job.name())}; }

std::string FailureText(const v1::Job& job, const Continuation& again, const Terminal& terminal) {
  if (job.state() == v1::JOB_STATE_CANCELLED) {
    return fmt::format("{} was cancelled; nothing was published.\n  To continue: {}\n", job.name(), again.command);
  }
  const v1::Task* const task = FailedTask(job);
  const v1::Failure& failure = job.failure().message().empty() && task != nullptr ? task->failure() : job.failure();
  const std::string id = task == nullptr ? "" : LastSegment(task->name());
  const std::string reason = ReasonOf(failure, id);
  std::string text = terminal.Paint(
      Colour::kRed,
      fmt::format("{} failed{}{} ({})", job.name(), id.empty() ? "" : " in ", id, ClassWord(failure.failure_class())));
  text += fmt::format("\n  {}\n{}{}", reason, LogText(failure, reason), WarningsText(job, terminal));
  return text + fmt::format("\n  What to do: {}\n", NextStep(failure, again));
}

}  // namespace regroup
