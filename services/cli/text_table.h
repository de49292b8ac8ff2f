// Formats rows of cells in columns. Not thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace regroup {

/// Returns the width in terminal cells: counts UTF-8 characters, not bytes.
size_t DisplayWidth(const std::string& text);

/// Returns `text` padded with spaces to `width`; longer text is not cut.
std::string PadRight(const std::string& text, size_t width);
std::string PadLeft(const std::string& text, size_t width);

/// A table whose first row is the header.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}

  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// Aligns a column to the right, as suits numbers.
  void AlignRight(size_t column) { right_.push_back(column); }

  /// Returns one line per row with two spaces between columns; each line starts with `indent` and ends with a newline.
  std::string Render(const std::string& indent = "") const;

 private:
  std::vector<size_t> Widths() const;
  bool IsRight(size_t column) const;

  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> right_;
};

}  // namespace regroup
