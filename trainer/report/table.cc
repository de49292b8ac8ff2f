#include "trainer/report/table.h"

namespace regroup {

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

}  // namespace regroup
