// A table of the page. The first column is a heading, the others are right-aligned; a wide one scrolls by itself.
#pragma once

#include <string>
#include <vector>

namespace regroup {

/// What stands in a cell without a value.
inline constexpr const char* kMissing = "–";

class HtmlTable {
 public:
  /// Cells are HTML: escape what is not ours.
  explicit HtmlTable(const std::vector<std::string>& header);

  void Add(const std::vector<std::string>& cells);
  bool empty() const { return body_.empty(); }
  std::string Render() const;

 private:
  std::string head_;
  std::string body_;
};

}  // namespace regroup
