// The section of report.html that compares the combinations of a sweep.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "trainer/report/chart.h"
#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Returns the rows of a sweep with one kind of training, as one series per alignment.
std::vector<ChartSeries> RatioSeries(const Json& rows, const std::string& finetune) {
  std::vector<ChartSeries> series;
  for (const Json& row : rows) {
    if (row["finetune"] != finetune || !row.contains("result")) continue;
    const Json& result = row["result"];
    if (!result.contains("perplexity_ratio")) continue;
    const Json& ratio = result["perplexity_ratio"];
    const std::string name = MergeTitle(row) + (row.value("refine", false) ? " + refine" : "");
    auto found = std::find_if(series.begin(), series.end(), [&](const ChartSeries& one) { return one.name == name; });
    if (found == series.end()) found = series.insert(series.end(), {.name = name});
    found->points.push_back({.x = row["kv_heads"].get<double>(),
                             .y = ratio["ratio"].get<double>(),
                             .low = ratio["low"].get<double>(),
                             .high = ratio["high"].get<double>()});
  }
  for (ChartSeries& one : series) {
    std::sort(one.points.begin(), one.points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
  }
  return series;
}

std::string RatioCharts(const Json& rows) {
  std::set<std::string> trainings;
  double low = 1, high = 1;
  for (const Json& row : rows) {
    trainings.insert(row["finetune"].get<std::string>());
    if (!row.contains("result") || !row["result"].contains("perplexity_ratio")) continue;
    low = std::min(low, row["result"]["perplexity_ratio"]["low"].get<double>());
    high = std::max(high, row["result"]["perplexity_ratio"]["high"].get<double>());
  }
  std::string charts;
  for (const std::string& training : trainings) {
    const std::string title = training == "none" ? "Without fine-tuning" : "After " + training + " training";
    charts += LineChart({.title = title,
                         .x_label = "KV heads",
                         .y_label = "perplexity / source's",
                         .x_by_rank = true,
                         .y_logarithmic = high > 3 * low,
                         .y_low = low,
                         .y_high = high},
                        RatioSeries(rows, training));
  }
  return charts;
}

std::string MeanOverLayers(const Json& row, const char* key) {
  double sum = 0;
  for (const Json& layer : row["layers"]) {
    const auto value = NumberIn(layer, key);
    if (!value) return kMissing;
    sum += *value;
  }
  return row["layers"].empty() ? kMissing : fmt::format("{:.3f}", sum / static_cast<double>(row["layers"].size()));
}

std::string BeforeAndAfter(const Json& row, const std::string& what) {
  return MeanOverLayers(row, (what + "_before").c_str()) + "&nbsp;→ " + MeanOverLayers(row, (what + "_after").c_str());
}

std::string RowSeconds(const Json& row) {
  if (!row.contains("seconds")) return kMissing;
  double seconds = 0;
  for (const auto& [stage, spent] : row["seconds"].items()) seconds += spent.get<double>();
  return DurationText(seconds);
}

bool HasLayerwise(const Json& row) { return row.value("layerwise", std::string("none")) != "none"; }

std::string AblationTable(const Json& rows) {
  const bool distills = std::any_of(rows.begin(), rows.end(), HasLayerwise);
  std::vector<std::string> header = {"Combination",      "Perplexity",           "Residual, keys",
                                     "Residual, values", "Similarity in groups", "Similarity overall"};
  if (distills) header.push_back("Error of layers");
  header.push_back("Time");
  HtmlTable table(header);
  for (const Json& row : rows) {
    const auto perplexity = NumberIn(row.value("result", Json::object()), "perplexity");
    std::vector<std::string> cells = {Escape(ArmTitle(row)),
                                      perplexity ? FigureText(*perplexity) : kMissing,
                                      MeanOverLayers(row, "residual_key"),
                                      MeanOverLayers(row, "residual_value"),
                                      BeforeAndAfter(row, "similarity"),
                                      BeforeAndAfter(row, "overall_similarity")};
    if (distills) cells.push_back(HasLayerwise(row) ? BeforeAndAfter(row, "error") : kMissing);
    cells.push_back(RowSeconds(row));
    table.Add(cells);
  }
  return "<h3>All combinations</h3>\n" + table.Render() +
         "<p class=\"note\">Residuals and similarities describe the merge, before refining and training, and are "
         "means over the layers. Similarities are mean cosines of pairs of heads, within a group and over the whole "
         "layer, before and after alignment; the latter also depend on how groups happen to be rotated against each "
         "other, which does not affect the model. " +
         (distills ? "The error is the share of the variance of the source's attention output that a merged layer "
                     "misses, before and after layerwise distillation. "
                   : "") +
         "Time is that of all tasks of a combination; tasks that several combinations share count for each, and " +
         (distills ? "calibration and recording count for none.</p>\n" : "calibration counts for none.</p>\n");
}

/// Returns one column for each alignment; refining and training do not change what it loses.
std::string ResidualTable(const Json& rows) {
  std::vector<std::string> header = {"Layer"};
  std::vector<const Json*> merges;
  for (const Json& row : rows) {
    const std::string title = Escape(ArmTitle({{"kv_heads", row["kv_heads"]}, {"alignment", row["alignment"]}}));
    if (std::find(header.begin(), header.end(), title) != header.end()) continue;
    header.push_back(title);
    merges.push_back(&row["layers"]);
  }
  HtmlTable table(header);
  for (size_t layer = 0; layer < merges.front()->size(); ++layer) {
    std::vector<std::string> cells = {LayerLabel((*merges.front())[layer])};
    for (const Json* layers : merges) {
      const Json& one = (*layers)[layer];
      const auto keys = NumberIn(one, "residual_key"), values = NumberIn(one, "residual_value");
      cells.push_back(keys && values ? fmt::format("{:.1f}&nbsp;/&nbsp;{:.1f}", 100 * *keys, 100 * *values) : kMissing);
    }
    table.Add(cells);
  }
  return "<h3>Residual of each layer, keys / values, %</h3>\n" + table.Render();
}

/// Returns one column for each merge whose layers were trained one by one; empty if there is none.
std::string TrainedErrorTable(const Json& rows) {
  std::vector<std::string> header = {"Layer"};
  std::vector<const Json*> merges;
  for (const Json& row : rows) {
    if (!HasLayerwise(row)) continue;
    const std::string title =
        Escape(ArmTitle({{"kv_heads", row["kv_heads"]}, {"alignment", row["alignment"]}, {"layerwise", "distill"}}));
    if (std::find(header.begin(), header.end(), title) != header.end()) continue;
    header.push_back(title);
    merges.push_back(&row["layers"]);
  }
  if (merges.empty()) return "";
  HtmlTable table(header);
  for (size_t layer = 0; layer < merges.front()->size(); ++layer) {
    std::vector<std::string> cells = {LayerLabel((*merges.front())[layer])};
    for (const Json* layers : merges) {
      const auto error = NumberIn((*layers)[layer], "error_after");
      cells.push_back(error ? fmt::format("{:.2f}", 100 * *error) : kMissing);
    }
    table.Add(cells);
  }
  return "<h3>Error of each layer after layerwise distillation, %</h3>\n" + table.Render();
}

}  // namespace

std::string SweepSection(const Json& report) {
  if (!report.contains("rows") || report["rows"].empty()) return "";
  const Json& rows = report["rows"];
  return "<section><h2>Degradation against ratio</h2>\n<p>Perplexity divided by the source's, on the same windows; "
         "bars are 95 % intervals of the paired difference.</p>\n<div class=\"charts\">" +
         RatioCharts(rows) + "</div>\n" + AblationTable(rows) + ResidualTable(rows) + TrainedErrorTable(rows) +
         "</section>\n";
}

}  // namespace regroup
