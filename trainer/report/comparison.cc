#include "trainer/report/comparison.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/report/paired_test.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Standard errors to either side that hold 95 % of a normal distribution.
constexpr double kNinetyFivePercent = 1.959964;

/// Null where the file does not exist.
absl::StatusOr<Json> ReadJson(const fs::path& file) {
  if (!fs::exists(file)) return Json();
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) return absl::DataLossError(fmt::format("{} is not JSON", file.string()));
  return value;
}

std::vector<double> LossesOf(const Json& windows) {
  if (!windows.is_object() || !windows.contains("mean_losses")) return {};
  return windows["mean_losses"].get<std::vector<double>>();
}

Json DescribeRatio(const PairedMean& mean) {
  const double margin = kNinetyFivePercent * mean.standard_error;
  return {{"ratio", std::exp(mean.difference)},
          {"low", std::exp(mean.difference - margin)},
          {"high", std::exp(mean.difference + margin)}};
}

std::vector<bool> RightAnswers(const Json& items, const char* best) {
  std::vector<bool> right;
  for (const Json& item : items) right.push_back(item.at(best) == item.at("label"));
  return right;
}

Json DescribePairs(const PairedAnswers& answers) {
  return {{"difference", answers.Difference()},
          {"standard_error", answers.StandardError()},
          {"only_source_right", answers.only_first_right},
          {"only_result_right", answers.only_second_right},
          {"p_value", answers.PValue()}};
}

absl::Status AddPerplexityRatio(const fs::path& source, const fs::path& own, Json& subject) {
  REGROUP_ASSIGN_OR_RETURN(const Json source_windows, ReadJson(source / "windows.json"));
  REGROUP_ASSIGN_OR_RETURN(const Json own_windows, ReadJson(own / "windows.json"));
  const std::vector<double> first = LossesOf(source_windows), second = LossesOf(own_windows);
  if (first.empty() || first.size() != second.size()) return absl::OkStatus();
  subject["perplexity_ratio"] = DescribeRatio(CompareMeans(first, second));
  return absl::OkStatus();
}

absl::Status AddPairs(const fs::path& source, const fs::path& own, Json& set) {
  const std::string file = fmt::format("choices-{}.json", set["name"].get<std::string>());
  REGROUP_ASSIGN_OR_RETURN(const Json first, ReadJson(source / file));
  REGROUP_ASSIGN_OR_RETURN(const Json second, ReadJson(own / file));
  if (!first.is_array() || !second.is_array() || first.size() != second.size()) return absl::OkStatus();
  set["paired"] = DescribePairs(CompareAnswers(RightAnswers(first, "best"), RightAnswers(second, "best")));
  set["paired_per_byte"] =
      DescribePairs(CompareAnswers(RightAnswers(first, "best_per_byte"), RightAnswers(second, "best_per_byte")));
  return absl::OkStatus();
}

absl::Status Compare(const fs::path& source, const fs::path& own, Json& subject) {
  REGROUP_RETURN_IF_ERROR(AddPerplexityRatio(source, own, subject));
  if (!subject.contains("multiple_choice")) return absl::OkStatus();
  for (Json& set : subject["multiple_choice"]) REGROUP_RETURN_IF_ERROR(AddPairs(source, own, set));
  return absl::OkStatus();
}

}  // namespace

absl::Status AddComparison(const StageContext& context, const std::string& source_role, const std::string& role,
                           Json& subject) {
  if (!context.assignment.inputs().contains(source_role)) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const fs::path source, context.Input(source_role));
  REGROUP_ASSIGN_OR_RETURN(const fs::path own, context.Input(role));
  try {
    return Compare(source, own, subject);
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(fmt::format("{}: {}", own.string(), error.what()));
  }
}

}  // namespace regroup
