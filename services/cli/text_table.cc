#include "services/cli/text_table.h"

#include <algorithm>

namespace regroup {

size_t DisplayWidth(const std::string& text) {
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

std::string PadRight(const std::string& text, size_t width) {
  const size_t used = DisplayWidth(text);
  return used < width ? text + std::string(width - used, ' ') : text;
}

std::string PadLeft(const std::string& text, size_t width) {
  const size_t used = DisplayWidth(text);
  return used < width ? std::string(width - used, ' ') + text : text;
}

std::string TextTable::Render(const std::string& indent) const {
  const std::vector<size_t> widths = Widths();
  std::string out;
  for (const auto& row : rows_) {
    std::string line = indent;
    for (size_t i = 0; i < row.size(); ++i) {
      line += IsRight(i) ? PadLeft(row[i], widths[i]) : PadRight(row[i], widths[i]);
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::vector<size_t> TextTable::Widths() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  return widths;
}

bool TextTable::IsRight(size_t column) const { return std::find(right_.begin(), right_.end(), column) != right_.end(); }

}  // namespace regroup
