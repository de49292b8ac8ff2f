#include "services/cli/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "services/cli/quantity_text.h"
#include "services/cli/text_table.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

constexpr size_t kWidest = 100;
constexpr size_t kLabel = 18;

/// Returns the value of a key; an empty object if it is missing.
const Json& At(const Json& object, const char* key) {
  static const Json kNothing = Json::object();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : kNothing;
}

std::string Figure(const Json& object, const char* key) {
  const Json& value = At(object, key);
  return value.is_number() ? FigureText(value.get<double>()) : "";
}

std::string Percent(const Json& object, const char* key) {
  const Json& value = At(object, key);
  return value.is_number() ? fmt::format("{:.1f}", 100 * value.get<double>()) : "";
}

std::string Text(const Json& object, const char* key) {
  const Json& value = At(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

std::string SummaryText(const Json& summary, size_t columns, const Terminal& terminal) {
  std::string text = WrapText(Text(summary, "sentence"), columns, "  ") + "\n";
  for (const Json& figure : At(summary, "figures")) {
    text += fmt::format("  {}{}\n", PadRight(Text(figure, "label"), kLabel),
                        terminal.Paint(Colour::kBold, Text(figure, "value")));
    text += WrapText(Text(figure, "detail"), columns, std::string(kLabel + 2, ' '));
  }
  return text;
}

void AddModel(TextTable& table, const std::string& title, const Json& subject) {
  if (!subject.is_object() || subject.empty()) return;
  const Json& ratio = At(At(subject, "perplexity_ratio"), "ratio");
  const Json& bytes = At(subject, "kv_bytes_per_token");
  table.Add({title, Figure(subject, "kv_heads"), bytes.is_number() ? BytesText(bytes.get<double>()) : "",
             Figure(subject, "perplexity"), ratio.is_number() ? fmt::format("{:.3f}", ratio.get<double>()) : ""});
}

std::string RowTitle(const Json& row) {
  const std::string finetune = Text(row, "finetune");
  std::string title = Text(row, "alignment");
  if (Text(row, "layerwise") == "distill") title += " + layerwise";
  if (At(row, "refine") == true) title += " + refine";
  return finetune.empty() || finetune == "none" ? title : title + " + " + finetune;
}

std::string QualityText(const Json& report) {
  TextTable table({"", "KV heads", "cache/token", "perplexity", "/ source"});
  for (size_t column = 1; column <= 4; ++column) table.AlignRight(column);
  AddModel(table, "source", At(report, "source"));
  AddModel(table, "plain averaging", At(report, "averaged"));
  AddModel(table, "aligned and merged", At(report, "aligned"));
  AddModel(table, "aligned + layerwise", At(report, "layerwise"));
  AddModel(table, "result", At(report, "result"));
  for (const Json& row : At(report, "rows")) AddModel(table, RowTitle(row), At(row, "result"));
  return "\n" + table.Render("  ");
}

std::string ChoiceText(const Json& report) {
  const Json& sets = At(At(report, "result"), "multiple_choice");
  if (sets.empty()) return "";
  TextTable table({"multiple choice", "source %", "result %", "difference", "p"});
  for (size_t column = 1; column <= 4; ++column) table.AlignRight(column);
  const Json& before = At(At(report, "source"), "multiple_choice");
  for (size_t i = 0; i < sets.size(); ++i) {
    const Json& paired = At(sets[i], "paired");
    const Json& p = At(paired, "p_value");
    const std::string error = Percent(paired, "standard_error");
    table.Add({Text(sets[i], "name"), i < before.size() ? Percent(before[i], "accuracy") : "",
               Percent(sets[i], "accuracy"), error.empty() ? "" : Percent(paired, "difference") + " +- " + error,
               p.is_number() ? fmt::format("{:.3f}", p.get<double>()) : ""});
  }
  return "\n" + table.Render("  ");
}

std::string DecodeText(const Json& latency) {
  const Json& grid = At(latency, "grid");
  if (grid.empty()) return "";
  TextTable table({"decoding", "source ms", "result ms", "speed-up", "bound", "of bound"});
  for (size_t column = 1; column <= 5; ++column) table.AlignRight(column);
  for (const Json& cell : grid) {
    const std::string share = Percent(At(cell, "result"), "fraction_of_bound");
    table.Add({fmt::format("{} x {}", Figure(cell, "batch"), Figure(cell, "context")),
               Figure(At(cell, "source"), "milliseconds_per_token"),
               Figure(At(cell, "result"), "milliseconds_per_token"), Figure(cell, "speed_up"),
               Figure(cell, "speed_up_bound"), share.empty() ? "" : share + " %"});
  }
  return "\n" + table.Render("  ");
}

std::string StagesText(const Json& stages) {
  if (!stages.is_array() || stages.empty()) return "";
  TextTable table({"stage", "took"});
  table.AlignRight(1);
  for (const Json& stage : stages) {
    const Json& seconds = At(stage, "seconds");
    table.Add({Text(stage, "name"), seconds.is_number() ? DurationText(seconds.get<double>()) : ""});
  }
  return "\n" + table.Render("  ");
}

}  // namespace

std::string WrapText(const std::string& text, size_t columns, const std::string& indent) {
  std::istringstream words(text);
  std::string result, line;
  for (std::string word; words >> word;) {
    if (!line.empty() && indent.size() + DisplayWidth(line) + 1 + DisplayWidth(word) > columns) {
      result += indent + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line.empty() ? result : result + indent + line + "\n";
}

std::string ReportText(const Json& report, const Terminal& terminal) {
  const size_t columns = std::min<size_t>(kWidest, std::max(20, terminal.columns));
  const Json& summary = At(report, "summary");
  std::string text = summary.empty() ? "" : SummaryText(summary, columns, terminal);
  text += QualityText(report) + ChoiceText(report) + DecodeText(At(At(report, "result"), "latency"));
  return text + StagesText(At(report, "stages"));
}

}  // namespace regroup
