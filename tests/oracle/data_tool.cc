// Lets a Python oracle drive our reader of data files: reads one JSON request per line, prints one answer each.
//
// {"read": file} -> {"objects": [each line as text], "digest": of the file, "progress": at the end, 0 to 1}
// Any failure is {"error": text, "code": its class}.
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/json_lines_reader.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

absl::StatusOr<Json> Read(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(JsonLinesReader lines, JsonLinesReader::Open(path));
  Json objects = Json::array();
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const std::optional<Json> object, lines.Next());
    if (!object) break;
    objects.push_back(object->dump());
  }
  const double progress = static_cast<double>(lines.bytes_read()) / static_cast<double>(lines.file_bytes());
  REGROUP_ASSIGN_OR_RETURN(const std::string digest, lines.Digest());
  return Json{{"objects", objects}, {"digest", digest}, {"progress", progress}};
}

Json Answer(const std::string& line) {
  absl::StatusOr<Json> answer = Read(Json::parse(line)["read"]);
  if (answer.ok()) return *std::move(answer);
  return Json{{"error", std::string(answer.status().message())},
              {"code", absl::StatusCodeToString(answer.status().code())}};
}

}  // namespace
}  // namespace regroup

int main() {
  std::string line;
  while (std::getline(std::cin, line)) std::cout << regroup::Answer(line).dump() << std::endl;
}
