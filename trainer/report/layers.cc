// The sections of report.html about layers and provenance.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "trainer/report/chart.h"
#include "trainer/report/heatmap.h"
#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

ChartSeries LayerSeries(const Json& layers, const std::string& name, const char* key) {
  ChartSeries series{.name = name};
  for (const Json& layer : layers) {
    if (const auto value = NumberIn(layer, key))
      series.points.push_back({.x = layer["index"].get<double>(), .y = *value});
  }
  return series;
}

std::vector<int64_t> GroupOrder(const Json& groups) {
  std::vector<int64_t> order;
  for (const Json& group : groups) {
    for (const Json& head : group) order.push_back(head.get<int64_t>());
  }
  return order;
}

std::string GroupsText(const Json& groups) {
  std::string text;
  for (const Json& group : groups) {
    text += text.empty() ? "" : " | ";
    for (size_t i = 0; i < group.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : " ", group[i].get<int64_t>());
  }
  return text;
}

std::string LayerTitle(const Json& layer) {
  std::string title = LayerLabel(layer);
  if (!title.empty()) title.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(title.front())));
  return title;
}

/// Shows similarities before and after alignment on one scale.
std::string HeatmapPair(const Json& layer, const std::string& what) {
  const Json& before = layer[what + "_similarity_before"];
  const Json& after = layer[what + "_similarity_after"];
  if (!before.is_array() || !after.is_array()) return "";
  const std::vector<int64_t> order = GroupOrder(layer["groups"]);
  const auto [low, high] = RangeOff({&before, &after});
  const auto draw = [&](const Json& matrix, const char* when) {
    return Heatmap(matrix, order, low, high,
                   fmt::format("Similarity of the {}s of all heads in {} {} alignment", what, LayerLabel(layer), when));
  };
  return fmt::format("<div class=\"pair\"><span>{}s</span>{}{}<small>{:.2f} to {:.2f}</small></div>", what,
                     draw(before, "before"), draw(after, "after"), low, high);
}

/// Explains the numbers of the groups if the source's heads were split.
std::string SplitNote(const Json& layers, int64_t source_heads) {
  if (layers.empty()) return "";
  const auto grouped = static_cast<int64_t>(GroupOrder(layers.front()["groups"]).size());
  if (source_heads == 0 || grouped <= source_heads) return "";
  const int64_t copies = grouped / source_heads;
  return fmt::format(
      "<p class=\"note\">The number of KV heads does not divide the source's {}, so that each of these was split into "
      "{} copies with a part of its query heads. Groups are of copies, and the first {} are of head 0.</p>\n",
      source_heads, copies, copies);
}

std::string LayerHeatmaps(const Json& layers) {
  std::string cards;
  for (const Json& layer : layers) {
    const std::string pictures = HeatmapPair(layer, "key") + HeatmapPair(layer, "value");
    if (pictures.empty()) continue;
    cards += fmt::format("<div class=\"layer\"><h4>{}</h4>{}<small>groups {}</small></div>\n", LayerTitle(layer),
                         pictures, GroupsText(layer["groups"]));
  }
  if (cards.empty()) return "";
  return "<h3>Similarity of heads, before and after alignment</h3>\n<p>Each square compares all heads of a layer, dark "
         "for similar; heads are in the order of their groups, so that groups are on the diagonal. The left picture is "
         "before, the right one after alignment, both on the scale below them.</p>\n<div class=\"layers\">" +
         cards + "</div>\n";
}

bool AnyError(const Json& layers) {
  return std::any_of(layers.begin(), layers.end(),
                     [](const Json& layer) { return NumberIn(layer, "error_after").has_value(); });
}

/// Returns nothing for a single layer, which the table shows as well.
std::string ErrorChart(const Json& layers, ChartOptions options) {
  if (layers.size() < 2 || !AnyError(layers)) return "";
  options.title = "Error of each layer";
  options.y_label = "share of the variance";
  return LineChart(options, {LayerSeries(layers, "before layerwise distillation", "error_before"),
                             LayerSeries(layers, "after", "error_after")});
}

std::string ErrorText(const Json& layer, const char* key) {
  const auto error = NumberIn(layer, key);
  return error ? fmt::format("{:.2f} %", 100 * *error) : kMissing;
}

std::string ErrorTable(const Json& layers) {
  if (!AnyError(layers)) return "";
  HtmlTable table({"Layer", "Error before", "Error after"});
  bool kept = false;
  for (const Json& layer : layers) {
    const bool kept_start = layer.value("kept_start", false);
    kept = kept || kept_start;
    table.Add({LayerLabel(layer), ErrorText(layer, "error_before"),
               ErrorText(layer, "error_after") + (kept_start ? " (start kept)" : "")});
  }
  return "<h3>Layerwise distillation</h3>\n" + table.Render() +
         "<p class=\"note\">The error is the share of the variance of the source's attention output that the merged "
         "layer misses, on sequences that training did not read and with the source's own inputs: 0 % is a perfect "
         "copy, and a layer that always gives the mean output has 100 %." +
         (kept ? " Training made the marked layers worse, so that they kept their start." : "") + "</p>\n";
}

std::string StageTable(const Json& report) {
  double total = 0;
  for (const Json& stage : report["stages"]) total += stage["seconds"].get<double>();
  HtmlTable table({"Stage", "Time", "Share"});
  for (const Json& stage : report["stages"]) {
    const double seconds = stage["seconds"].get<double>();
    table.Add(
        {Escape(stage["name"]), DurationText(seconds), fmt::format("{:.0f} %", total > 0 ? 100 * seconds / total : 0)});
  }
  table.Add({"together", DurationText(total), ""});
  return table.Render();
}

/// Shows a value that may break anywhere, because paths and digests are wider than a phone.
std::string Fact(const std::string& name, const std::string& value) {
  return fmt::format("<dt>{}</dt><dd>{}</dd>\n", Escape(name), Escape(value));
}

std::string TextOf(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : std::string();
}

std::string Facts(const Json& report) {
  const Json& provenance = report["provenance"];
  std::string facts = Fact("Job", TextOf(report, "job"));
  facts += Fact("Source", TextOf(provenance, "source"));
  facts += Fact("Source digest (SHA-256)", TextOf(provenance, "source_digest"));
  for (const Json& entry : provenance.value("fetched", Json::array())) {
    if (entry.contains("commit")) facts += Fact("Commit of " + TextOf(entry, "address"), TextOf(entry, "commit"));
  }
  for (const auto& [path, digest] : provenance["data_digests"].items()) {
    facts += Fact("Data " + path, digest.get<std::string>());
  }
  facts +=
      Fact("Model", fmt::format("{}, {} parameters, {}", TextOf(provenance, "family"),
                                GroupedText(provenance.value("parameters", int64_t{0})), TextOf(provenance, "dtype")));
  facts += Fact("Device of the report", TextOf(provenance, "device_name"));
  for (const auto& [name, version] : provenance["versions"].items()) {
    facts += Fact("Version of " + name, version.get<std::string>());
  }
  return "<dl>" + facts + "</dl>\n";
}

}  // namespace

std::string LayersSection(const Json& report) {
  const Json* const best = BestRow(report);
  const Json& subject = best != nullptr ? *best : report;
  if (!subject.contains("layers")) return "";
  const Json& layers = subject["layers"];
  const ChartOptions by_layer{.x_label = "layer", .y_from_zero = true};
  ChartOptions residuals = by_layer, similarity = by_layer;
  residuals.title = "Loss from merging";
  residuals.y_label = "residual, share of the energy";
  similarity.title = "Similarity inside the groups";
  similarity.y_label = "mean";
  return "<section><h2>Layers" + (best != nullptr ? ": " + Escape(ArmTitle(*best)) : std::string()) +
         "</h2>\n<div class=\"charts\">" +
         LineChart(residuals,
                   {LayerSeries(layers, "keys", "residual_key"), LayerSeries(layers, "values", "residual_value")}) +
         LineChart(similarity, {LayerSeries(layers, "before alignment", "similarity_before"),
                                LayerSeries(layers, "after alignment", "similarity_after")}) +
         ErrorChart(layers, by_layer) + "</div>\n" + ErrorTable(layers) +
         SplitNote(layers, report["source"].value("kv_heads", int64_t{0})) + LayerHeatmaps(layers) + "</section>\n";
}

std::string ProvenanceSection(const Json& report) {
  std::string section =
      "<section><h2>Provenance</h2>\n" + Facts(report) + "<h3>Time of each stage</h3>\n" + StageTable(report);
  const std::string job_file = TextOf(report["provenance"], "job_file");
  if (!job_file.empty()) section += "<h3>Job file, with all defaults</h3>\n<pre>" + Escape(job_file) + "</pre>\n";
  return section + "</section>\n";
}

}  // namespace regroup
