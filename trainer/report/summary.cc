#include "trainer/report/summary.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "trainer/report/html.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Figures of the result, or of the best row of a sweep, compared with the source.
struct Facts {
  int64_t source_heads = 0;
  int64_t heads = 0;
  double source_bytes = 0;
  double bytes = 0;
  std::optional<double> source_perplexity;
  std::optional<double> perplexity;
  const Json* decoding = nullptr;
  const Json* subject = nullptr;
};

Facts FactsOf(const Json& report, const Json& subject) {
  const Json& source = report["source"];
  Facts facts{.subject = &subject};
  facts.source_heads = source.value("kv_heads", int64_t{0});
  facts.heads = subject.value("kv_heads", int64_t{0});
  facts.source_bytes = source.value("kv_bytes_per_token", 0.0);
  facts.bytes = subject.value("kv_bytes_per_token", 0.0);
  facts.source_perplexity = NumberIn(source, "perplexity");
  facts.perplexity = NumberIn(subject, "perplexity");
  if (subject.contains("latency")) facts.decoding = HeadlineCell(subject["latency"]);
  return facts;
}

std::string CellTitle(const Json& cell) {
  return fmt::format("batch {}, context {}", cell["batch"].get<int64_t>(), cell["context"].get<int64_t>());
}

std::string Sentence(const std::string& name, const Facts& facts) {
  std::vector<std::string> clauses;
  if (facts.bytes < facts.source_bytes) {
    clauses.push_back(fmt::format("its KV cache is {:.1f} times smaller", facts.source_bytes / facts.bytes));
  }
  if (facts.decoding != nullptr) {
    clauses.push_back(fmt::format("it decodes {:.2f} times as fast ({})", (*facts.decoding)["speed_up"].get<double>(),
                                  CellTitle(*facts.decoding)));
  }
  if (facts.perplexity && facts.source_perplexity) {
    clauses.push_back(fmt::format("its perplexity is {} where the source's is {} ({})", FigureText(*facts.perplexity),
                                  FigureText(*facts.source_perplexity),
                                  ChangeText(*facts.perplexity / *facts.source_perplexity)));
  }
  std::string sentence = fmt::format("{} keeps {} of {} KV heads", name, facts.heads, facts.source_heads);
  for (size_t i = 0; i < clauses.size(); ++i) {
    sentence += (i == 0 ? ": " : i + 1 == clauses.size() ? ", and " : ", ") + clauses[i];
  }
  return sentence + ".";
}

void AddAccuracy(const Json& report, const Json& subject, Json& figures) {
  if (!subject.contains("multiple_choice") || !report["source"].contains("multiple_choice")) return;
  const auto mean = [](const Json& sets) {
    double sum = 0;
    for (const Json& set : sets) sum += set["accuracy"].get<double>() / static_cast<double>(sets.size());
    return sum;
  };
  const Json& sets = subject["multiple_choice"];
  figures.push_back({{"label", "Multiple choice"},
                     {"value", fmt::format("{:.1f} %", 100 * mean(sets))},
                     {"detail", fmt::format("mean accuracy of {}; source {:.1f} %", CountText(sets.size(), "set"),
                                            100 * mean(report["source"]["multiple_choice"]))}});
}

void AddAgreement(const Json& subject, Json& figures) {
  if (!subject.contains("agreement")) return;
  const Json& agreement = subject["agreement"];
  figures.push_back({{"label", "Same next token"},
                     {"value", fmt::format("{:.1f} %", 100 * agreement["same_top_token"].get<double>())},
                     {"detail", fmt::format("as the source, over {} tokens; mean KL {} nats",
                                            GroupedText(agreement["positions"].get<int64_t>()),
                                            FigureText(agreement["mean_kl"].get<double>()))}});
}

Json Figures(const Json& report, const Facts& facts) {
  Json figures = Json::array();
  figures.push_back(
      {{"label", "KV cache"},
       {"value", fmt::format("{:.1f} times smaller", facts.source_bytes / facts.bytes)},
       {"detail", fmt::format("{} per token; source {}", BytesText(facts.bytes), BytesText(facts.source_bytes))}});
  if (facts.perplexity && facts.source_perplexity) {
    figures.push_back({{"label", "Perplexity"},
                       {"value", FigureText(*facts.perplexity)},
                       {"detail", fmt::format("source {}; {}", FigureText(*facts.source_perplexity),
                                              ChangeText(*facts.perplexity / *facts.source_perplexity))}});
  }
  if (facts.decoding != nullptr) {
    const Json& cell = *facts.decoding;
    figures.push_back(
        {{"label", "Decoding"},
         {"value", fmt::format("{:.2f} times as fast", cell["speed_up"].get<double>())},
         {"detail", fmt::format("{}; memory allows {:.2f}", CellTitle(cell), cell["speed_up_bound"].get<double>())}});
  }
  AddAccuracy(report, *facts.subject, figures);
  if (figures.size() < 4) AddAgreement(*facts.subject, figures);
  return figures;
}

}  // namespace

const Json* HeadlineCell(const Json& latency) {
  const Json* best = nullptr;
  for (const Json& cell : latency["grid"]) {
    if (best == nullptr || cell["speed_up_bound"].get<double>() > (*best)["speed_up_bound"].get<double>()) best = &cell;
  }
  return best;
}

const Json* BestRow(const Json& report) {
  const Json* best = nullptr;
  double lowest = 0;
  if (!report.contains("rows")) return nullptr;
  for (const Json& row : report["rows"]) {
    if (!row.contains("result")) continue;
    const auto perplexity = NumberIn(row["result"], "perplexity");
    if (!perplexity || (best != nullptr && *perplexity >= lowest)) continue;
    best = &row;
    lowest = *perplexity;
  }
  return best;
}

const Json* BestResult(const Json& report) {
  if (const Json* const best = BestRow(report)) return &(*best)["result"];
  return report.contains("result") ? &report["result"] : nullptr;
}

std::string MergeTitle(const Json& row) {
  const bool distills = row.value("layerwise", std::string("none")) != "none";
  return row.value("alignment", std::string("none")) + (distills ? " + layerwise" : "");
}

std::string ArmTitle(const Json& row) {
  const std::string finetune = row.value("finetune", std::string("none"));
  return fmt::format("{}, {}{}{}", CountText(row["kv_heads"].get<int64_t>(), "head"), MergeTitle(row),
                     row.value("refine", false) ? " + refine" : "", finetune == "none" ? "" : " + " + finetune);
}

std::string LayerLabel(const Json& layer) {
  return Escape(layer.value("name", fmt::format("layer {}", layer["index"].get<int64_t>())));
}

Json SummariseReport(const Json& report) {
  const std::string name = report["name"].get<std::string>();
  if (!report.contains("rows")) {
    const Facts facts = FactsOf(report, report["result"]);
    return {{"sentence", Sentence(name, facts)}, {"figures", Figures(report, facts)}};
  }
  const Json* const best = BestRow(report);
  const std::string start = fmt::format("{} compares {}", name, CountText(report["rows"].size(), "combination"));
  if (best == nullptr) return {{"sentence", start + "."}, {"figures", Json::array()}};
  const Facts facts = FactsOf(report, (*best)["result"]);
  const std::string clause =
      fmt::format("; {} has the lowest perplexity, {} where the source's is {} ({}).", ArmTitle(*best),
                  FigureText(*facts.perplexity), FigureText(facts.source_perplexity.value_or(0)),
                  ChangeText(*facts.perplexity / facts.source_perplexity.value_or(*facts.perplexity)));
  return {{"sentence", start + clause}, {"figures", Figures(report, facts)}};
}

}  // namespace regroup
