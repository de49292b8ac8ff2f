// report.html: the figures of report.json as a page that needs nothing else.
#include <fmt/format.h>

#include "trainer/stages/report_data.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
)";

std::string Escape(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string Number(const Json& object, const char* key, int digits) {
  if (!object.contains(key) || !object[key].is_number()) return "–";
  return fmt::format("{:.{}f}", object[key].get<double>(), digits);
}

std::string Row(const std::string& name, const Json& subject) {
  return fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", Escape(name),
                     Number(subject, "perplexity", 2), Number(subject, "kv_heads", 0),
                     Number(subject, "kv_bytes_per_token", 0));
}

std::string QualityTable(const Json& report) {
  std::string table =
      "<h2>Quality and cache</h2><table><tr><th>Model</th><th>Perplexity</th><th>KV heads</th>"
      "<th>KV cache bytes per token</th></tr>\n";
  table += Row("source", report["source"]);
  const std::pair<const char*, const char*> subjects[] = {
      {"averaged", "plain averaging"}, {"aligned", "aligned and merged"}, {"result", "result"}};
  for (const auto& [key, name] : subjects) {
    if (report.contains(key)) table += Row(name, report[key]);
  }
  if (report.contains("rows")) {
    for (const Json& row : report["rows"]) {
      const Json& subject = row.contains("result") ? row["result"] : row;
      table +=
          Row(fmt::format("{} heads, {}, {}{}", row["kv_heads"].get<int64_t>(), row["alignment"].get<std::string>(),
                          row["refine"].get<bool>() ? "refine, " : "", row["finetune"].get<std::string>()),
              subject);
    }
  }
  return table + "</table>";
}

std::string StageTable(const Json& report) {
  std::string table = "<h2>Time</h2><table><tr><th>Stage</th><th>Seconds</th></tr>\n";
  for (const Json& stage : report["stages"]) {
    table +=
        fmt::format("<tr><td>{}</td><td>{:.1f}</td></tr>\n", Escape(stage["name"]), stage["seconds"].get<double>());
  }
  return table + "</table>";
}

std::string LayerTable(const Json& report) {
  if (!report.contains("layers")) return "";
  std::string table =
      "<h2>Layers</h2><div class=\"wide\"><table><tr><th>Layer</th><th>Groups</th><th>Similarity before</th>"
      "<th>after</th><th>Residual of keys</th><th>of values</th></tr>\n";
  for (const Json& layer : report["layers"]) {
    table += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                         layer["index"].get<int64_t>(), layer["groups"].dump(), Number(layer, "similarity_before", 3),
                         Number(layer, "similarity_after", 3), Number(layer, "residual_key", 3),
                         Number(layer, "residual_value", 3));
  }
  return table + "</table></div>";
}

}  // namespace

std::string RenderReport(const Json& report) {
  const std::string name = Escape(report["name"]);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"><title>Regroup: {0}</title><style>{1}</style></head>\n"
      "<body><h1>{0}</h1>\n{2}\n{3}\n{4}\n</body></html>\n",
      name, kStyle, QualityTable(report), LayerTable(report), StageTable(report));
}

}  // namespace regroup
