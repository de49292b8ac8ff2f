#include "trainer/stages/recorded_curves.h"

#include <cstdlib>
#include <fstream>

#include <nlohmann/json.hpp>

#include "services/common/base/attempt_files.h"
#include "services/common/base/files.h"

namespace regroup {
namespace {

/// Returns the files of the attempt and of those before it, the oldest first; some may not exist.
std::vector<std::filesystem::path> CurveFiles(const std::filesystem::path& attempt_folder) {
  const int64_t last = std::atoll(attempt_folder.filename().c_str());
  std::vector<std::filesystem::path> files;
  for (int64_t epoch = 1; epoch <= last; ++epoch) {
    files.push_back(attempt_folder.parent_path() / std::to_string(epoch) / attempt_files::kResults /
                    attempt_files::kCurves);
  }
  return files;
}

}  // namespace

std::vector<std::string> ReadRecordedCurves(const std::filesystem::path& attempt_folder) {
  std::vector<std::string> curves;
  for (const std::filesystem::path& file : CurveFiles(attempt_folder)) {
    const absl::StatusOr<std::string> recorded = ReadFile(file, kMaxReportBytes);
    if (recorded.ok()) curves.push_back(*recorded);
  }
  return curves;
}

std::optional<double> RecordedValue(const std::filesystem::path& attempt_folder, const std::string& curve,
                                    int64_t last_step) {
  std::optional<double> value;
  int64_t best = 0;
  for (const std::filesystem::path& file : CurveFiles(attempt_folder)) {
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json values = nlohmann::json::parse(line, nullptr, false);
      if (!values.is_object() || !values.contains("step") || !values.contains(curve)) continue;
      if (!values["step"].is_number_integer() || !values[curve].is_number()) continue;
      const int64_t step = values["step"].get<int64_t>();
      if (step > last_step || step < best) continue;
      best = step;
      value = values[curve].get<double>();
    }
  }
  return value;
}

}  // namespace regroup
