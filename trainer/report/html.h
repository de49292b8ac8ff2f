// Parts of the report's pages: HTML blocks and their style, and words and numbers as the report shows them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/number_text.h"  // IWYU pragma: export

namespace regroup {

/// The style of report.html: light or dark by the reader's setting, light in print, one column on a phone. A table that
/// is wider than the page has a shadow on the side on which it continues.
extern const char* const kReportStyle;

/// The text of a cell without a value.
inline constexpr const char* kMissing = "–";

/// A table of the page. The first column is a heading, the others are right-aligned; a wide one scrolls by itself.
class HtmlTable {
 public:
  /// Cells are HTML: escape text that comes from outside.
  explicit HtmlTable(const std::vector<std::string>& header);

  void Add(const std::vector<std::string>& cells);
  bool empty() const { return body_.empty(); }
  std::string Render() const;

 private:
  std::string head_;
  std::string body_;
};

/// Returns the text in a form that is safe inside an HTML element or a quoted attribute.
std::string Escape(const std::string& text);

/// Returns the number under `key`; nothing if it is missing or null.
std::optional<double> NumberIn(const nlohmann::ordered_json& object, const char* key);

/// Returns "+3.4 %" for 1.034.
std::string ChangeText(double ratio);

/// Returns a text such as "1 head" or "3 heads".
std::string CountText(size_t count, const std::string& word);

}  // namespace regroup
