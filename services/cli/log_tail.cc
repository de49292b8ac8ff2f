#include "services/cli/log_tail.h"

#include <deque>
#include <fstream>

#include <nlohmann/json.hpp>

#include "services/common/base/printable_text.h"

namespace regroup {

std::string ReadableLogLine(const std::string& line) {
  const auto entry = nlohmann::json::parse(line, nullptr, false);
  if (!entry.is_object() || !entry.contains("message") || !entry["message"].is_string()) return PrintableText(line);
  std::string text = entry.value("severity", "");
  text += (text.empty() ? "" : " ") + entry["message"].get<std::string>();
  std::string fields;
  for (const auto& [key, value] : entry.items()) {
    if (key == "message" || key == "severity" || key == "time" || key == "component") continue;
    fields += (fields.empty() ? "" : ", ") + key + " " + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return PrintableText(fields.empty() ? text : text + " (" + fields + ")");
}

std::vector<std::string> LogTail(const std::filesystem::path& file, size_t lines) {
  std::ifstream stream(file);
  std::deque<std::string> last;
  for (std::string line; std::getline(stream, line);) {
    last.push_back(line);
    if (last.size() > lines) last.pop_front();
  }
  std::vector<std::string> texts;
  for (const std::string& line : last) texts.push_back(ReadableLogLine(line));
  return texts;
}

}  // namespace regroup
