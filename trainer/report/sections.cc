#include "trainer/report/sections.h"

#include <fmt/format.h>

#include <vector>

#include "services/common/base/number_text.h"
#include "trainer/report/chart.h"
#include "trainer/report/html.h"
#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

struct Measured {
  std::string title;
  const Json* subject;
};

std::vector<Measured> MeasuredModels(const Json& report) {
  std::vector<Measured> models = {{"source", &report["source"]}};
  if (report.contains("averaged")) models.push_back({"plain averaging", &report["averaged"]});
  if (report.contains("aligned")) models.push_back({"aligned and merged", &report["aligned"]});
  if (report.contains("layerwise")) models.push_back({"after layerwise distillation", &report["layerwise"]});
  if (report.contains("result")) models.push_back({"result", &report["result"]});
  if (!report.contains("rows")) return models;
  for (const Json& row : report["rows"])
    models.push_back({ArmTitle(row), row.contains("result") ? &row["result"] : &row});
  return models;
}

std::string WithError(double value, double error, int digits) {
  return error > 0 ? fmt::format("{:.{}f} ± {:.{}f}", value, digits, error, digits)
                   : fmt::format("{:.{}f}", value, digits);
}

std::string RatioText(const Json& subject) {
  if (!subject.contains("perplexity_ratio")) return kMissing;
  const Json& ratio = subject["perplexity_ratio"];
  return fmt::format("{} ({:.3f} – {:.3f})", FigureText(ratio["ratio"].get<double>()), ratio["low"].get<double>(),
                     ratio["high"].get<double>());
}

std::string NumberOr(const Json& subject, const char* key) {
  const auto value = NumberIn(subject, key);
  return value ? FigureText(*value) : kMissing;
}

const Json* SetNamed(const Json& subject, const std::string& name) {
  if (!subject.contains("multiple_choice")) return nullptr;
  for (const Json& set : subject["multiple_choice"]) {
    if (set["name"] == name) return &set;
  }
  return nullptr;
}

std::vector<std::string> SetNames(const Json& report) {
  std::vector<std::string> names;
  if (!report["source"].contains("multiple_choice")) return names;
  for (const Json& set : report["source"]["multiple_choice"]) names.push_back(set["name"].get<std::string>());
  return names;
}

std::string QualityTable(const Json& report) {
  HtmlTable table({"Model", "KV heads", "KV cache per token", "Perplexity", "Against the source (95 %)"});
  for (const auto& [title, subject] : MeasuredModels(report)) {
    table.Add({Escape(title), std::to_string(subject->value("kv_heads", int64_t{0})),
               BytesText(subject->value("kv_bytes_per_token", 0.0)), NumberOr(*subject, "perplexity"),
               RatioText(*subject)});
  }
  return table.Render();
}

std::string CacheText(const Json& report) {
  if (!report.contains("cache_note")) return "";
  return fmt::format("<p class=\"note\">KV cache: {}.</p>\n", Escape(report["cache_note"].get<std::string>()));
}

std::string AgreementText(const Json& report) {
  if (!report.contains("result") || !report["result"].contains("agreement")) return "";
  const Json& agreement = report["result"]["agreement"];
  return fmt::format(
      "<p>On {} tokens the result predicts the same next token as the source {:.1f} % of the time; the mean "
      "Kullback-Leibler divergence from the source is {} nats.</p>\n",
      GroupedText(agreement["positions"].get<int64_t>()), 100 * agreement["same_top_token"].get<double>(),
      FigureText(agreement["mean_kl"].get<double>()));
}

std::string AccuracyText(const Json* set) {
  if (set == nullptr) return kMissing;
  return WithError(100 * (*set)["accuracy"].get<double>(), 100 * (*set)["accuracy_standard_error"].get<double>(), 1);
}

std::string ChoiceTable(const Json& report) {
  const std::vector<std::string> names = SetNames(report);
  if (names.empty()) return "";
  std::vector<std::string> header = {"Accuracy, %"};
  for (const std::string& name : names) header.push_back(Escape(name));
  HtmlTable table(header);
  for (const auto& [title, subject] : MeasuredModels(report)) {
    if (!subject->contains("multiple_choice")) continue;
    std::vector<std::string> cells = {Escape(title)};
    for (const std::string& name : names) cells.push_back(AccuracyText(SetNamed(*subject, name)));
    table.Add(cells);
  }
  return "<h3>Multiple choice</h3>\n" + table.Render() +
         "<p class=\"note\">By summed log-likelihood, with standard errors; report.json also has the scores per "
         "character and per byte.</p>\n";
}

std::string PairedTable(const Json& report) {
  if (!report.contains("result")) return "";
  HtmlTable table({"Set", "Items", "Difference, points", "Only source right", "Only result right", "p"});
  for (const std::string& name : SetNames(report)) {
    const Json* const set = SetNamed(report["result"], name);
    if (set == nullptr || !set->contains("paired")) continue;
    const Json& paired = (*set)["paired"];
    table.Add({Escape(name), GroupedText((*set)["items"].get<int64_t>()),
               WithError(100 * paired["difference"].get<double>(), 100 * paired["standard_error"].get<double>(), 1),
               GroupedText(paired["only_source_right"].get<int64_t>()),
               GroupedText(paired["only_result_right"].get<int64_t>()),
               fmt::format("{:.3f}", paired["p_value"].get<double>())});
  }
  if (table.empty()) return "";
  return "<h3>Source against result, item by item</h3>\n" + table.Render() +
         "<p class=\"note\">p: how often two equally good models would differ at least as much (McNemar's exact "
         "test).</p>\n";
}

std::string CellTitle(const Json& cell) {
  return fmt::format("batch {} × {}", cell["batch"].get<int64_t>(), GroupedText(cell["context"].get<int64_t>()));
}

std::string Milliseconds(const Json& speed) {
  return fmt::format("{} ({} – {})", FigureText(speed["milliseconds_per_token"].get<double>()),
                     FigureText(speed["milliseconds_per_token_10"].get<double>()),
                     FigureText(speed["milliseconds_per_token_90"].get<double>()));
}

std::string DecodeTable(const Json& latency) {
  HtmlTable table({"Batch × context", "Source, ms per token", "Result, ms per token", "Tokens per second", "Speed-up",
                   "Bound", "Of its bound, source / result"});
  for (const Json& cell : latency["grid"]) {
    table.Add({CellTitle(cell), Milliseconds(cell["source"]), Milliseconds(cell["result"]),
               fmt::format("{} → {}", FigureText(cell["source"]["tokens_per_second"].get<double>()),
                           FigureText(cell["result"]["tokens_per_second"].get<double>())),
               fmt::format("{:.2f}", cell["speed_up"].get<double>()),
               fmt::format("{:.2f}", cell["speed_up_bound"].get<double>()),
               fmt::format("{:.0f} % / {:.0f} %", 100 * cell["source"]["fraction_of_bound"].get<double>(),
                           100 * cell["result"]["fraction_of_bound"].get<double>())});
  }
  return table.Render();
}

std::string MemoryTable(const Json& latency) {
  HtmlTable table({"Batch × context", "KV cache of the source", "of the result", "computed", "Prefill of the source",
                   "of the result"});
  for (const Json& cell : latency["grid"]) {
    table.Add({CellTitle(cell), BytesText(cell["source"]["kv_bytes"].get<double>()),
               BytesText(cell["result"]["kv_bytes"].get<double>()),
               BytesText(cell["result"]["kv_bytes_computed"].get<double>()),
               fmt::format("{} ms", FigureText(1e3 * cell["source"]["prefill_seconds"].get<double>())),
               fmt::format("{} ms", FigureText(1e3 * cell["result"]["prefill_seconds"].get<double>()))});
  }
  return table.Render();
}

std::string OverheadText(const Json& latency) {
  if (!latency.contains("alignment_overhead")) return "";
  const Json& overhead = latency["alignment_overhead"];
  return fmt::format(
      "<p>Alignment adds no work at inference: at {} a step of the result reads {} bytes, and one of a model whose "
      "heads were plainly averaged reads {}. Measured in turns in the same run, they took {} and {} ms "
      "({} – {}).</p>\n",
      CellTitle(overhead), GroupedText(overhead["result_step_bytes"].get<int64_t>()),
      GroupedText(overhead["averaged_step_bytes"].get<int64_t>()),
      FigureText(overhead["result_milliseconds_per_token"].get<double>()),
      FigureText(overhead["averaged_milliseconds_per_token"].get<double>()),
      FigureText(overhead["averaged_milliseconds_per_token_10"].get<double>()),
      FigureText(overhead["averaged_milliseconds_per_token_90"].get<double>()));
}

std::string SpeedUpChart(const Json& latency) {
  std::vector<ChartBar> bars;
  for (const Json& cell : latency["grid"]) {
    bars.push_back({CellTitle(cell), cell["speed_up"].get<double>(), cell["speed_up_bound"].get<double>()});
  }
  return BarChart("Speed-up of decoding", "measured", "memory bound", bars);
}

/// Returns what a reader should know of figures measured on this kind of device.
std::string DeviceText(const Json& latency) {
  if (latency["device"] != "cuda") return "";
  return "<p>Kernels are launched one by one, without the CUDA graphs that serving engines use: with few requests and "
         "short contexts a step may take as long as its launches, for both models.</p>\n";
}

std::string LatencyText(const Json& latency) {
  return fmt::format(
      "<p>{} ({}, {}), {}, attention by {}. {} tokens per measurement, both models in turns; medians, and in brackets "
      "the 10 % and 90 % points. The bound is the time to read the weights and cache of a step at {} GB/s, the "
      "memory bandwidth of this machine measured in the same run.</p>\n",
      Escape(latency["device_name"].get<std::string>()), Escape(latency["device"].get<std::string>()),
      CountText(latency["threads"].get<size_t>(), "thread"), Escape(latency["dtype"].get<std::string>()),
      Escape(latency["attention"].get<std::string>()), latency["new_tokens"].get<int64_t>(),
      FigureText(latency["grid"].back()["read_bytes_per_second"].get<double>() / 1e9));
}

const Json* LatencyOf(const Json& report) {
  const Json* const subject = BestResult(report);
  if (subject == nullptr || !subject->contains("latency")) return nullptr;
  const Json& latency = (*subject)["latency"];
  return latency["grid"].empty() ? nullptr : &latency;
}

std::vector<ChartSeries> CurvesNamed(const Json& curves,
                                     const std::vector<std::pair<std::string, std::string>>& names) {
  std::vector<ChartSeries> series;
  for (const auto& [key, name] : names) {
    if (!curves.contains(key)) continue;
    ChartSeries& one = series.emplace_back(ChartSeries{.name = name});
    for (const Json& point : curves[key])
      one.points.push_back({.x = point[0].get<double>(), .y = point[1].get<double>()});
  }
  return series;
}

std::string GoodputText(const Json& subject) {
  if (!subject.contains("training")) return "";
  const Json& training = subject["training"];
  std::string text = fmt::format(
      "<p>Of the {} from the first start of training to its end, {:.0f} % went into steps that count (goodput). The "
      "rest went into loading, measurements, checkpoints, waits for machines, and what a lost attempt had to "
      "repeat.</p>\n",
      DurationText(training["elapsed_seconds"].get<double>()), 100 * training["goodput"].get<double>());
  if (training.contains("ended_early_after_step")) {
    text += fmt::format("<p>Training ended early, after step {}, because its perplexity had not fallen any more.</p>\n",
                        training["ended_early_after_step"].get<int64_t>());
  }
  return text;
}

}  // namespace

std::string SummarySection(const Json& report) {
  const Json& summary = report["summary"];
  std::string section = fmt::format("<p class=\"lead\">{}</p>\n<div class=\"figures\">", Escape(summary["sentence"]));
  for (const Json& figure : summary["figures"]) {
    section += fmt::format("<div class=\"figure\"><span>{}</span><strong>{}</strong><small>{}</small></div>\n",
                           Escape(figure["label"]), Escape(figure["value"]), Escape(figure["detail"]));
  }
  section += "</div>\n";
  for (const Json& warning : report.value("warnings", Json::array())) {
    section += fmt::format("<p><strong>Warning:</strong> {}</p>\n", Escape(warning.get<std::string>()));
  }
  return section;
}

std::string QualitySection(const Json& report) {
  return "<section><h2>Quality</h2>\n" + QualityTable(report) + CacheText(report) + AgreementText(report) +
         ContextTables(report) + ChoiceTable(report) + PairedTable(report) + "</section>\n";
}

std::string DecodeSection(const Json& report) {
  const Json* const latency = LatencyOf(report);
  if (latency == nullptr) return "";
  return "<section><h2>Decoding</h2>\n" + LatencyText(*latency) + DeviceText(*latency) + "<div class=\"charts\">" +
         SpeedUpChart(*latency) + "</div>\n" + DecodeTable(*latency) + MemoryTable(*latency) + OverheadText(*latency) +
         "</section>\n";
}

std::string TrainingSection(const Json& report) {
  const Json* const best = BestRow(report);
  const Json& subject = best != nullptr ? *best : report;
  if (!subject.contains("curves")) return "";
  const Json& curves = subject["curves"];
  // The loss of `l0` starts near zero, with every gate open: on a logarithmic scale its first step would hide the rest.
  const auto chart = [](ChartOptions options, const std::vector<ChartSeries>& series) {
    if (series.empty()) return std::string();
    options.x_label = "step";
    return LineChart(options, series);
  };
  const auto curve = [&](const char* title, const char* unit, const std::vector<ChartSeries>& series) {
    return chart({.title = title, .y_label = unit, .y_from_zero = true, .dots = false}, series);
  };
  return "<section><h2>Training" + (best != nullptr ? ": " + Escape(ArmTitle(*best)) : std::string()) + "</h2>\n" +
         GoodputText(subject) + "<div class=\"charts\">" +
         curve("Distillation loss", "KL, nats per token", CurvesNamed(curves, {{"loss", "loss"}})) +
         chart({.title = "Perplexity during training", .y_label = "perplexity"},
               CurvesNamed(curves, {{"validation_perplexity", "student"}})) +
         curve("Closed gates", "share",
               CurvesNamed(curves, {{"gate_sparsity", "measured"}, {"gate_sparsity_target", "target"}})) +
         curve("Learning rate", "", CurvesNamed(curves, {{"learning_rate", "rate"}})) +
         curve("Speed", "tokens per second", CurvesNamed(curves, {{"tokens_per_second", "speed"}})) +
         "</div></section>\n";
}

}  // namespace regroup
