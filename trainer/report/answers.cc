// The section of the page with the answers of source and result, side by side.
#include <fmt/format.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

std::string Said(const Json& text, bool is_whole = true) {
  return fmt::format("<span class=\"said\">{}{}</span>", Escape(text.get<std::string>()), is_whole ? "" : " …");
}

std::string AnswerText(const Json& answer) { return Said(answer["text"], answer["ended"].get<bool>()); }

}  // namespace

std::string AnswersSection(const Json& report) {
  const Json* const result = BestResult(report);
  if (result == nullptr || !report["source"].contains("answers") || !result->contains("answers")) return "";
  const Json &theirs = report["source"]["answers"], &ours = (*result)["answers"];
  if (theirs.size() != ours.size()) return "";
  HtmlTable table({"Prompt", "Source", "Result"});
  size_t equal = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    table.Add({Said(theirs[i]["prompt"]), AnswerText(theirs[i]), AnswerText(ours[i])});
    equal += theirs[i]["text"] == ours[i]["text"] ? 1 : 0;
  }
  return "<section><h2>Answers</h2>\n" + table.Render() +
         fmt::format(
             "<p class=\"note\">The most likely token each time; {} of {} answers are equal. … stands where an "
             "answer was cut off.</p>\n</section>\n",
             equal, theirs.size());
}

}  // namespace regroup
