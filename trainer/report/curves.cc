#include "trainer/report/curves.h"

#include <map>
#include <sstream>

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;
using Curves = std::map<std::string, std::map<int64_t, double>>;

constexpr size_t kMostPoints = 240;

/// Skips lines that a killed attempt did not finish.
void AddAttempt(const std::string& recorded, Curves& curves) {
  std::istringstream lines(recorded);
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

Curves CurvesOf(const std::vector<std::string>& attempts) {
  Curves curves;
  for (const std::string& recorded : attempts) AddAttempt(recorded, curves);
  return curves;
}

}  // namespace

std::optional<Json> TrainingCurves(const std::vector<std::string>& attempts) {
  const Curves curves = CurvesOf(attempts);
  if (curves.empty()) return std::nullopt;
  Json result = Json::object();
  for (const auto& [name, curve] : curves) result[name] = Thin(curve);
  return result;
}

std::optional<std::pair<int64_t, double>> LastPoint(const std::vector<std::string>& attempts, const std::string& name) {
  const Curves curves = CurvesOf(attempts);
  const auto curve = curves.find(name);
  if (curve == curves.end()) return std::nullopt;
  return *curve->second.rbegin();
}

}  // namespace regroup
