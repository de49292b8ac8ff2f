#include "trainer/report/curves.h"

#include <fstream>
#include <map>
#include <vector>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Curves = std::map<std::string, std::map<int64_t, double>>;

constexpr size_t kMostPoints = 240;

/// Lines that a killed attempt left unfinished are passed over.
void AddFile(const fs::path& file, Curves& curves) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const Json values = Json::parse(line, nullptr, false);
    if (!values.is_object() || !values.contains("step")) continue;
    for (const auto& [name, value] : values.items()) {
      if (name != "step" && value.is_number()) curves[name][values["step"].get<int64_t>()] = value.get<double>();
    }
  }
}

Json Thin(const std::map<int64_t, double>& curve) {
  const size_t bucket = (curve.size() + kMostPoints - 1) / kMostPoints;
  Json points = Json::array();
  double sum = 0;
  size_t count = 0, left = curve.size();
  for (const auto& [step, value] : curve) {
    sum += value;
    ++count;
    --left;
    if (count < bucket && left > 0) continue;
    points.push_back({step, sum / static_cast<double>(count)});
    sum = 0;
    count = 0;
  }
  return points;
}

}  // namespace

absl::StatusOr<std::optional<Json>> ReadCurves(const StageContext& context, const std::string& role) {
  if (!context.assignment.inputs().contains(role)) return std::nullopt;
  REGROUP_ASSIGN_OR_RETURN(const fs::path winner, context.Input(role));
  // <task>/<epoch>/out of the attempt that won; those before it lie beside it.
  const fs::path task = winner.parent_path().parent_path();
  const int64_t last = std::atoll(winner.parent_path().filename().c_str());
  Curves curves;
  for (int64_t epoch = 1; epoch < last; ++epoch) AddFile(task / std::to_string(epoch) / "out" / "curves.jsonl", curves);
  AddFile(winner / "curves.jsonl", curves);
  if (curves.empty()) return std::nullopt;
  Json result = Json::object();
  for (const auto& [name, curve] : curves) result[name] = Thin(curve);
  return result;
}

}  // namespace regroup
