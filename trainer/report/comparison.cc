#include "trainer/report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "trainer/report/paired_test.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Number of standard errors on either side that covers 95 % of a normal distribution.
constexpr double kNinetyFivePercent = 1.959964;

std::vector<double> LossesOf(const Json& windows) {
  if (!windows.is_object() || !windows.contains("mean_losses")) return {};
  return windows["mean_losses"].get<std::vector<double>>();
}

/// Returns false if the loss of a window is not finite, which JSON cannot hold.
bool AreFinite(const Json& windows) {
  if (!windows.is_object() || !windows.contains("mean_losses")) return true;
  const Json& losses = windows["mean_losses"];
  return std::all_of(losses.begin(), losses.end(), [](const Json& loss) { return !loss.is_null(); });
}

Json DescribeRatio(const PairedMean& mean) {
  const double margin = kNinetyFivePercent * mean.standard_error;
  return {{"ratio", std::exp(mean.difference)},
          {"low", std::exp(mean.difference - margin)},
          {"high", std::exp(mean.difference + margin)}};
}

std::vector<bool> RightAnswers(const Json& items, const std::string& best) {
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

void AddPerplexityRatio(const Evaluation& source, const Evaluation& own, Json& subject) {
  const std::vector<double> first = LossesOf(source.windows), second = LossesOf(own.windows);
  if (first.empty() || first.size() != second.size()) return;
  subject["perplexity_ratio"] = DescribeRatio(CompareMeans(first, second));
}

void AddPairs(const Evaluation& source, const Evaluation& own, Json& set) {
  const std::string name = set["name"].get<std::string>();
  const auto first = source.choices.find(name), second = own.choices.find(name);
  if (first == source.choices.end() || second == own.choices.end()) return;
  const Json &theirs = first->second, &ours = second->second;
  if (!theirs.is_array() || !ours.is_array() || theirs.size() != ours.size()) return;
  for (const std::string length : {"", "_per_character", "_per_byte"}) {
    const std::string best = "best" + length;
    // An evaluation of an older version lacks some of them.
    if (!theirs.empty() && !(theirs[0].contains(best) && ours[0].contains(best))) continue;
    set["paired" + length] = DescribePairs(CompareAnswers(RightAnswers(theirs, best), RightAnswers(ours, best)));
  }
}

}  // namespace

absl::Status AddComparison(const Evaluation& source, const Evaluation& own, Json& subject) {
  if (!AreFinite(source.windows)) {
    return absl::DataLossError(
        "the source's loss on a window of evaluation.perplexity is not finite; check its weights");
  }
  if (!AreFinite(own.windows)) {
    return absl::DataLossError("the converted model's loss on a window of evaluation.perplexity is not finite");
  }
  try {
    AddPerplexityRatio(source, own, subject);
    if (!subject.contains("multiple_choice")) return absl::OkStatus();
    for (Json& set : subject["multiple_choice"]) AddPairs(source, own, set);
    return absl::OkStatus();
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(fmt::format("{}: {}", own.folder, error.what()));
  }
}

}  // namespace regroup
