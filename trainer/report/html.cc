#include "trainer/report/html.h"

#include <fmt/format.h>

namespace regroup {

// The colours of series can be told apart with any kind of colour vision; each series also has its own dash and label.
const char* const kReportStyle = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --s0: #0b5cad; --s1: #b3470a; --s2: #1f7a52; --s3: #8a3fa0; --s4: #6b5a00; --s5: #444c56; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e6edf3; --soft: #9aa6b2; --line: #3a424c;
  --card: #1d232a; --s0: #6cb0f5; --s1: #f0955a; --s2: #63c596; --s3: #d59be6; --s4: #d8c04f; --s5: #b6c0ca; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
h4 { font-size: .95rem; margin: 0 0 .25rem; }
.said { display: block; text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; }
table:has(.said) th { text-align: left; }
p { margin: .5rem 0; max-width: 46rem; }
small, .note, figcaption small { color: var(--soft); font-size: .85rem; font-weight: normal; }
.lead { font-size: 1.15rem; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: .75rem; margin: 1rem 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; }
.figure span, .figure strong, .figure small { display: block; }
.figure span { color: var(--soft); font-size: .9rem; }
.figure strong { font-size: 1.35rem; line-height: 1.3; }
.wide { overflow-x: auto; margin: .75rem 0; background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
  background-image: linear-gradient(to right, var(--paper) 40%, transparent), linear-gradient(to left, var(--paper) 40%, transparent),
    linear-gradient(to right, var(--line), transparent), linear-gradient(to left, var(--line), transparent);
  background-size: 2.5rem 100%, 2.5rem 100%, .9rem 100%, .9rem 100%; background-position: 0 0, 100% 0, 0 0, 100% 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th { font-weight: 600; }
thead th { vertical-align: bottom; color: var(--soft); font-size: .85rem; }
th:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: normal; min-width: 7rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem 1.5rem; }
figure { margin: .5rem 0; min-width: 0; max-width: 34rem; }
figcaption { font-weight: 600; font-size: .95rem; }
.chart > svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.mark { stroke: var(--ink); stroke-width: 2.5; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
.f0 { fill: var(--s0); } .f1 { fill: var(--s1); } .f2 { fill: var(--s2); }
.f3 { fill: var(--s3); } .f4 { fill: var(--s4); } .f5 { fill: var(--s5); }
.d1 { stroke-dasharray: 7 3; } .d2 { stroke-dasharray: 2 3; } .d3 { stroke-dasharray: 9 3 2 3; }
.d4 { stroke-dasharray: 4 2; } .d5 { stroke-dasharray: 12 4; }
.legend { font-size: .85rem; color: var(--soft); display: flex; flex-wrap: wrap; gap: .1rem 1rem; }
.legend svg { vertical-align: middle; margin-right: .3rem; }
.layers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15.5rem), 1fr)); gap: .75rem; }
.layer { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .75rem; min-width: 0; }
.layer > small { overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 3.2rem 1fr 1fr; gap: .15rem .5rem; align-items: center; margin-bottom: .35rem; }
.pair span { font-size: .85rem; color: var(--soft); }
.pair small { grid-column: 2 / 4; text-align: center; }
.heat { width: 100%; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--line); }
dl { display: grid; grid-template-columns: fit-content(20rem) 1fr; gap: .25rem 1rem; margin: .75rem 0; }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; overflow-x: auto;
  font-size: .85rem; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  table { font-size: .85rem; } thead th { font-size: .8rem; } th, td { padding: .35rem .4rem; } tbody th { min-width: 6rem; } }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --card: #fff;
    --s0: #0b5cad; --s1: #b3470a; --s2: #1f7a52; --s3: #8a3fa0; --s4: #6b5a00; --s5: #444c56; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0 1px; }
  h2, h3, h4 { break-after: avoid; }
  figure, .figure, .layer, tr { break-inside: avoid; }
  .wide { overflow: visible; background: none; }
  td { white-space: normal; }
  table { font-size: 8.5pt; } thead th { font-size: 8pt; }
  .figure strong { font-size: 13pt; }
  .figures { grid-template-columns: repeat(4, 1fr); }
  .charts { grid-template-columns: 1fr 1fr; }
  .layers { grid-template-columns: repeat(3, 1fr); }
  .heat, rect, circle, .figure { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; columns: 2; }
}
)";

HtmlTable::HtmlTable(const std::vector<std::string>& header) {
  for (const std::string& cell : header) head_ += "<th scope=\"col\">" + cell + "</th>";
}

void HtmlTable::Add(const std::vector<std::string>& cells) {
  body_ += "<tr>";
  for (size_t i = 0; i < cells.size(); ++i) {
    body_ += i == 0 ? "<th scope=\"row\">" + cells[i] + "</th>" : "<td>" + cells[i] + "</td>";
  }
  body_ += "</tr>\n";
}

std::string HtmlTable::Render() const {
  return "<div class=\"wide\" tabindex=\"0\"><table><thead><tr>" + head_ + "</tr></thead><tbody>\n" + body_ +
         "</tbody></table></div>\n";
}

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
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::optional<double> NumberIn(const nlohmann::ordered_json& object, const char* key) {
  if (!object.contains(key) || !object[key].is_number()) return std::nullopt;
  return object[key].get<double>();
}

std::string ChangeText(double ratio) { return fmt::format("{:+.1f} %", (ratio - 1) * 100); }

std::string CountText(size_t count, const std::string& word) {
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

}  // namespace regroup
