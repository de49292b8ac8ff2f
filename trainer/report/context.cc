// The tables of the page about far tokens: perplexity by context, and the needle test.
#include <fmt/format.h>

#include <map>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Shows whether the result loses more of far tokens than of near ones.
std::string PerplexityTable(const Json& report) {
  const Json* const result = BestResult(report);
  if (result == nullptr || !report["source"].contains("by_context") || !result->contains("by_context")) return "";
  const Json &before = report["source"]["by_context"], &after = (*result)["by_context"];
  if (before.size() != after.size() || before.size() < 2) return "";
  HtmlTable table({"Tokens before", "Perplexity of the source", "of the result", "Ratio"});
  for (size_t range = 0; range < before.size(); ++range) {
    const auto theirs = NumberIn(before[range], "perplexity"), ours = NumberIn(after[range], "perplexity");
    table.Add({fmt::format("{} to {}", GroupedText(before[range]["first"].get<int64_t>()),
                           GroupedText(before[range]["last"].get<int64_t>())),
               theirs ? FigureText(*theirs) : kMissing, ours ? FigureText(*ours) : kMissing,
               theirs && ours ? FigureText(*ours / *theirs) : kMissing});
  }
  return "<h3>Perplexity by context</h3>\n" + table.Render() +
         "<p class=\"note\">Tokens of the windows by how many tokens stand before them: a ratio that grows says that "
         "the result loses more of what is far away.</p>\n";
}

std::string Share(const Json& cell) {
  return fmt::format("{} of {}", cell["right"].get<int64_t>(), cell["items"].get<int64_t>());
}

std::string NeedleTable(const Json& report) {
  const Json* const result = BestResult(report);
  if (result == nullptr || !report["source"].contains("needle") || !result->contains("needle")) return "";
  const Json &before = report["source"]["needle"], &after = (*result)["needle"];
  if (before.size() != after.size()) return "";
  HtmlTable table({"Context", "Depth of the fact", "Source", "Result"});
  for (size_t cell = 0; cell < before.size(); ++cell) {
    table.Add({GroupedText(before[cell]["context_length"].get<int64_t>()),
               fmt::format("{:.0f} %", 100 * before[cell]["depth"].get<double>()), Share(before[cell]),
               Share(after[cell])});
  }
  return "<h3>Facts in the context</h3>\n" + table.Render() +
         "<p class=\"note\">How often the model prefers a number that stands in its context to three others; chance is "
         "a quarter. Depth 0 % is the beginning of the context.</p>\n";
}

}  // namespace

std::string ContextTables(const Json& report) { return PerplexityTable(report) + NeedleTable(report); }

}  // namespace regroup
