// Lets a Python oracle drive our reader of data files: reads one JSON request per line, prints one answer each.
//
// {"read": file} -> {"objects": [each line as text], "digest": of the file, "progress": at the end, 0 to 1}
// {"clip": WAV file, "mel_bins": n, "frames": n} -> {"spectrogram": [each value]}
// Any failure is {"error": text, "code": its class}.
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/audio/clip_reader.h"
#include "trainer/data/audio/log_mel.h"
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

absl::StatusOr<Json> SpectrogramOf(const Json& request) {
  const SpectrogramShape shape{.mel_bins = request["mel_bins"], .frames = request["frames"]};
  REGROUP_ASSIGN_OR_RETURN(const std::vector<float> clip,
                           ReadClip(request["clip"].get<std::string>(), shape.Samples()));
  return Json{{"spectrogram", LogMel(shape).Of(clip)}};
}

Json Answer(const std::string& line) {
  const Json request = Json::parse(line);
  absl::StatusOr<Json> answer = request.contains("clip") ? SpectrogramOf(request) : Read(request["read"]);
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
