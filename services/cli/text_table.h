// Rows of cells, printed in columns. Not thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace regroup {

/// Columns that one terminal cell each takes: counts UTF-8 characters, not bytes.
size_t DisplayWidth(const std::string& text);

/// `text` with spaces up to `width`; longer text stays whole.
std::string PadRight(const std::string& text, size_t width);
std::string PadLeft(const std::string& text, size_t width);

/// A table whose first row is the header.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}

  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// Numbers look better against the right edge.
  void AlignRight(size_t column) { right_.push_back(column); }

  /// One line a row, two spaces between columns, each line ends with a newline and starts with `indent`.
  std::string Render(const std::string& indent = "") const;

 private:
  std::vector<size_t> Widths() const;
  bool IsRight(size_t column) const;

  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> right_;
};

}  // namespace regroup
