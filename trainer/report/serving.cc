// The section of the page about serving: what source and result take on several GPUs, and how much fits.
#include <fmt/format.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNotPossible[] = "not possible";

std::string Heads(const Json& served) {
  if (!served["can_be_split"].get<bool>()) return kNotPossible;
  return std::to_string(served["kv_heads_per_gpu"].get<int64_t>());
}

std::string Bytes(const Json& served) {
  if (!served["can_be_split"].get<bool>()) return kNotPossible;
  return BytesText(served["kv_bytes_per_token"].get<double>());
}

std::string Count(const Json& served, const char* key) {
  return served.contains(key) ? GroupedText(served[key].get<int64_t>()) : kNotPossible;
}

std::string Saved(const Json& row) {
  if (!row["source"]["can_be_split"].get<bool>() || !row["result"]["can_be_split"].get<bool>()) return "";
  const double before = row["source"]["kv_bytes_per_token"].get<double>();
  const double after = row["result"]["kv_bytes_per_token"].get<double>();
  return after < before ? fmt::format("{:.1f} %", 100 * (1 - after / before)) : "nothing";
}

std::string CacheTable(const Json& serving) {
  HtmlTable table(
      {"GPUs", "Source: KV heads on each", "Result", "Source: KV cache of a token on each", "Result", "Saved"});
  for (const Json& row : serving["rows"]) {
    table.Add({std::to_string(row["gpus"].get<int64_t>()), Heads(row["source"]), Heads(row["result"]),
               Bytes(row["source"]), Bytes(row["result"]), Saved(row)});
  }
  return table.Render() +
         "<p class=\"note\">Heads are distributed over the GPUs (tensor parallelism); a GPU holds at least one KV "
         "head, "
         "so that more GPUs than KV heads hold copies.</p>\n";
}

std::string CapacityTable(const Json& serving) {
  if (!serving.contains("gpu_memory_gib")) return "";
  HtmlTable table({"GPUs", "Source: tokens that fit", "Result", "Source: requests at once", "Result",
                   "Source: longest request", "Result"});
  for (const Json& row : serving["rows"]) {
    std::vector<std::string> cells = {std::to_string(row["gpus"].get<int64_t>())};
    for (const char* key : {"tokens", "requests", "longest_context"}) {
      cells.push_back(Count(row["source"], key));
      cells.push_back(Count(row["result"], key));
    }
    table.Add(cells);
  }
  return "<h3>Capacity</h3>\n" + table.Render() +
         fmt::format(
             "<p class=\"note\">GPUs of {} GiB, of which {:.0f} % hold weights and KV cache; requests of {} "
             "tokens. Activations and an engine's own rounding are not counted.</p>\n",
             FigureText(serving["gpu_memory_gib"].get<double>()), 100 * serving["memory_share"].get<double>(),
             GroupedText(serving["context_length"].get<int64_t>()));
}

}  // namespace

std::string ServingSection(const Json& report) {
  if (!report.contains("serving")) return "";
  const Json& serving = report["serving"];
  return "<section><h2>Serving</h2>\n" + CacheTable(serving) + CapacityTable(serving) + "</section>\n";
}

}  // namespace regroup
